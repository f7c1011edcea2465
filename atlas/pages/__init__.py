"""Pages: plain tables for a page, figures, the explorer. Imports no torch and no umap."""
