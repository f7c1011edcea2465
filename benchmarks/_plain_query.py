"""What a user would write instead: load the network, the stored vectors and the image, look, search, print; each time."""

from __future__ import annotations

import sys

import faiss
import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from atlas.models.reference import build  # the module's definition alone, as any file with a network in it


def main() -> None:
    """Print the prediction and the ten nearest rows of an image, by cosine in relu_fc1."""
    weights, vectors, image = sys.argv[1:]
    network = build("conv6", {}).eval()
    network.load_state_dict(load_file(weights))
    pixels = torch.from_numpy(np.asarray(Image.open(image).convert("L")).copy())[None, None].float() / 255
    seen: list[torch.Tensor] = []
    network.get_submodule("relu_fc1").register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.inference_mode():
        output = network((pixels - 0.286) / 0.353).argmax().item()
    stored = np.load(vectors)
    query = seen[0].numpy().reshape(1, -1)
    for rows in (stored, query):
        faiss.normalize_L2(rows)
    index = faiss.IndexFlatIP(stored.shape[1])
    index.add(stored)
    print(output, *index.search(query, 10)[1][0])


if __name__ == "__main__":
    main()
