"""A nearest-neighbour query script to copy from: python apps/query.py cache/fashion-mnist 60000 -k 5

The query is a row, an image_id or an image file. Only a file needs torch: the network has to look at it.
"""

import argparse
import sys

import atlas


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("atlas", help="the atlas's folder")
    parser.add_argument("image", help="a row, an image_id or an image file")
    parser.add_argument("-k", type=int, default=10, help="how many neighbours")
    parser.add_argument("--layer", help="the layer whose space counts; default: the descriptor")
    options = parser.parse_args()
    try:
        found = atlas.open(options.atlas).neighbours(options.image, layer=options.layer, k=options.k)
    except atlas.AtlasError as mistake:
        sys.exit(f"query.py: {mistake}")
    print(found.to_string(index=False))


if __name__ == "__main__":
    main()
