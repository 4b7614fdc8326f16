# Draws images of odd sizes and writes what Pillow and transformers' Pillow-based image processor make of them.
# usage: python make.py OUT     in a virtual environment with pillow, numpy, transformers 5.23 and safetensors
#   OUT/*.png, *.jpg        the images
#   OUT/expected.safetensors  per image <file>: U8 [height, width, 3] after resizing; of some <file>.pixel_values F32
#   OUT/sizes.jsonl         [height, width, factor, min_pixels, max_pixels, resized height, width]
import json
import os
import random
import sys

import numpy as np
from PIL import Image, ImageDraw
from safetensors.numpy import save_file
from transformers.image_utils import load_image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil, smart_resize

OUT = sys.argv[1]
os.makedirs(OUT, exist_ok=True)
rng = random.Random(5)
SETTINGS = dict(patch_size=4, merge_size=2, temporal_patch_size=2, min_pixels=256, max_pixels=1536)


def draw(width, height, mode="RGB"):
    image = Image.new("RGB", (width, height), tuple(rng.randrange(256) for _ in range(3)))
    pen = ImageDraw.Draw(image)
    for _ in range(rng.randrange(3, 8)):
        box = sorted(rng.randrange(width + 1) for _ in range(2)), sorted(rng.randrange(height + 1) for _ in range(2))
        corners = [box[0][0], box[1][0], box[0][1], box[1][1]]
        colour = tuple(rng.randrange(256) for _ in range(3))
        rng.choice([pen.rectangle, pen.ellipse])(corners, fill=colour)
    pen.line([0, 0, width, height], fill=(255, 255, 255), width=1)
    pen.text((1, 1), "mg7", fill=(0, 0, 0))
    across = np.linspace(0, 60, width, dtype=np.uint8)[None, :, None]  # a gradient over it all
    image = Image.fromarray(np.clip(np.asarray(image).astype(int) + across, 0, 255).astype(np.uint8))
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.linear_gradient("L").resize((width, height)))
    if mode == "I;16":
        grey = np.asarray(image.convert("L")).astype(np.uint16)
        return Image.fromarray(grey * 257 - grey)
    return image.convert(mode)


def save(name, image, **options):
    path = f"{OUT}/{name}"
    image.save(path, **options)
    processor = Qwen2VLImageProcessorPil(**SETTINGS)
    # load_image leaves a transparent colour in the image's info, and the processor paints it white.
    loaded = Image.fromarray(processor.convert_to_rgb(load_image(path)))
    height, width = smart_resize(loaded.height, loaded.width, 8, SETTINGS["min_pixels"], SETTINGS["max_pixels"])
    expected[name] = np.asarray(loaded.resize((width, height), Image.Resampling.BICUBIC)).copy()
    made = processor(load_image(path), return_tensors="np")
    assert made["image_grid_thw"].tolist() == [[1, height // 4, width // 4]], (name, height, width)
    # undone: what the processor itself resized to
    grid = made["pixel_values"].reshape(height // 8, width // 8, 2, 2, 3, 2, 4, 4)[:, :, :, :, :, 0]
    pixels = grid.transpose(0, 2, 5, 1, 3, 6, 4).reshape(height, width, 3) * processor.image_std + processor.image_mean
    assert np.abs(pixels * 255 - expected[name]).max() < 0.01, name
    if name in ("rgb-00.png", "exif-6.jpg"):
        expected[name + ".pixel_values"] = made["pixel_values"].astype(np.float32)


expected = {}
sizes = [(1, 1), (7, 5), (9, 31), (16, 16), (17, 23), (33, 2), (41, 64), (63, 65), (80, 13), (97, 101), (150, 44), (28, 56)]
for index, (width, height) in enumerate(sizes):
    save(f"rgb-{index:02d}.png", draw(width, height))
for index, mode in enumerate(["RGBA", "L", "LA", "P", "1", "I;16", "RGBA", "L"]):
    save(f"mode-{index}.png", draw(23 + 7 * index, 37 - 3 * index, mode))
for bits in (1, 2, 4):
    save(f"palette-{bits}.png", draw(30, 21).quantize(2**bits), bits=bits)
save("transparent-palette.png", draw(26, 19).quantize(7), transparency=3)
save("transparent-grey.png", draw(26, 19, "L"), transparency=draw(26, 19, "L").getpixel((20, 10)))
flat = draw(33, 18).quantize(5).convert("RGB")
save("transparent-rgb.png", flat, transparency=flat.getpixel((9, 9)))
for index, subsampling in enumerate([0, 1, 2, 0, 1, 2, 0, 1, 2]):
    save(f"jpeg-{index}.jpg", draw(19 + 11 * index, 71 - 6 * index), quality=60 + 4 * index, subsampling=subsampling)
for index in range(4):
    save(f"progressive-{index}.jpg", draw(31 + index, 45 - 9 * index), quality=85, progressive=True)
for index in range(2):
    save(f"grey-{index}.jpg", draw(37, 22 + index, "L"), quality=80)
for index in range(2):
    save(f"cmyk-{index}.jpg", draw(24, 41 - index, "CMYK"), quality=90)
for orientation in range(1, 9):
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(f"exif-{orientation}.jpg", draw(29, 18), quality=92, exif=exif)
exif = Image.Exif()
exif[0x0112] = 6
save("exif-6.png", draw(21, 34), exif=exif)
save_file(expected, OUT + "/expected.safetensors")
lines = []
while len(lines) < 300:
    height, width = rng.randrange(1, 2000), rng.randrange(1, 2000)
    factor, least, most = rng.choice([(28, 3136, 12845056), (28, 3136, 1003520), (8, 256, 1536), (32, 65536, 16777216)])
    if max(height, width) / min(height, width) <= 200:
        lines.append(json.dumps([height, width, factor, least, most, *smart_resize(height, width, factor, least, most)]))
open(OUT + "/sizes.jsonl", "w").write("\n".join(lines) + "\n")
print(len([name for name in expected if "pixel" not in name]), "images")
