"""Images: from a folder, a table, a named dataset or a torch Dataset, with thumbnails in sheets. Imports no torch."""
