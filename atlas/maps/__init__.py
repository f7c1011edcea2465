"""Maps: neighbours by FAISS, layouts by UMAP, t-SNE and PCA, and how faithful they are. Imports no torch."""
