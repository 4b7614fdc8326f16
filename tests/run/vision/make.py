# Writes what transformers + PEFT compute of images and clips, in float64 and float32:
#   OUT/qwen2-vl      an adapter on merger, patch embedding and some of the rest of ../../golden/qwen2-vl, several images and a clip
#   OUT/qwen2_5-vl    a whole case as in ../../golden: base, adapter, merged, inputs, expected
#   OUT/positions.jsonl   position ids of random layouts of text, images and clips
# usage: python make.py OUT     in a virtual environment with torch, transformers 5.23, peft 0.21 and safetensors
import json
import os
import random

import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2VLForConditionalGeneration

OUT = sys.argv[1]
GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../golden/qwen2-vl")
IMAGE, VIDEO, START, END = 300, 301, 302, 303


def randomise_lora(model):
    for name, parameter in model.named_parameters():
        if "lora_A" in name:
            torch.nn.init.normal_(parameter, std=0.2)
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)


def save_adapter(model, folder, base):
    model.save_pretrained(folder)
    os.remove(folder + "/README.md")
    config = json.load(open(folder + "/adapter_config.json"))
    config["base_model_name_or_path"] = base
    json.dump(config, open(folder + "/adapter_config.json", "w"), indent=2)


def patches(grids, width):
    count = sum(t * h * w for t, h, w in grids)
    return torch.randn(count, width).half()


def tokens(grids):
    return [t * h * w // 4 for t, h, w in grids]


def prompt(parts, vocabulary, rng, ids=(IMAGE, VIDEO, START, END)):
    """parts: numbers of text tokens, and ("image"|"video", grid)"""
    image, video, start, end = ids
    out = []
    for part in parts:
        if isinstance(part, int):
            out += [rng.randrange(3, vocabulary) for _ in range(part)]
        else:
            count = tokens([part[1]])[0]
            out += [start] + [image if part[0] == "image" else video] * count + [end]
    return out


def types(ids, image, video):
    return torch.tensor([[1 if i == image else 2 if i == video else 0 for i in ids]])


def run(model, ids, pixels, images, videos, clips, seconds, special):
    arguments = {"mm_token_type_ids": types(ids, *special[:2])}
    dtype = next(model.parameters()).dtype
    if images:
        arguments |= {"pixel_values": pixels.to(dtype), "image_grid_thw": torch.tensor(images)}
    if videos:
        arguments |= {"pixel_values_videos": clips.to(dtype), "video_grid_thw": torch.tensor(videos)}
    if seconds:
        arguments["second_per_grid_ts"] = torch.tensor(seconds)
    with torch.no_grad():
        return model(torch.tensor([ids]), **arguments).logits[0]


def write_case(folder, prompts, lanes, special, store):
    """lanes: name -> (model in float64, model in float32)"""
    logits, noise, lines, inputs = {}, 0.0, [], {}
    for name, ids, images, videos, seconds in prompts:
        line = {"id": name, "input_ids": ids}
        pixels = clips = None
        if images:
            pixels = patches(images, store)
            inputs[name + ".pixel_values"] = pixels
            line |= {"image_grid_thw": images, "pixel_values": {"file": "inputs.safetensors", "tensor": name + ".pixel_values"}}
        if videos:
            clips = patches(videos, store)
            inputs[name + ".pixel_values_videos"] = clips
            line |= {"video_grid_thw": videos, "pixel_values_videos": {"file": "inputs.safetensors", "tensor": name + ".pixel_values_videos"}}
        if seconds:
            line["second_per_grid_ts"] = seconds
        lines.append(json.dumps(line))
        for lane, (exact, single) in lanes.items():
            rows = run(exact, ids, pixels, images, videos, clips, seconds, special)
            other = run(single, ids, pixels, images, videos, clips, seconds, special)
            noise = max(noise, (rows - other.double()).abs().max().item())
            logits[f"{name}.{lane}"] = rows.float().contiguous()
    save_file(inputs, folder + "/inputs.safetensors")
    save_file(logits, folder + "/expected.safetensors")
    open(folder + "/inputs.jsonl", "w").write("\n".join(lines) + "\n")
    json.dump({"float32_noise_max_abs": noise}, open(folder + "/expected.json", "w"))


def two(load):
    return load(torch.float64), load(torch.float32)


def adapted(load, folder):
    return two(lambda dtype: PeftModel.from_pretrained(load(dtype), folder, autocast_adapter_dtype=False).to(dtype).eval())


def qwen2_vl():
    torch.manual_seed(11)
    rng = random.Random(11)
    folder = OUT + "/qwen2-vl"
    os.makedirs(folder, exist_ok=True)

    def load(dtype):
        return Qwen2VLForConditionalGeneration.from_pretrained(GOLDEN + "/base", dtype=dtype, attn_implementation="eager")

    model = get_peft_model(load(torch.float16), LoraConfig(
        r=4, lora_alpha=8, task_type="CAUSAL_LM", target_modules=["proj", "merger.mlp.0", "merger.mlp.2", "o_proj"]))
    randomise_lora(model)
    save_adapter(model.half(), folder + "/adapter", "golden/qwen2-vl")
    prompts = [
        ("images", prompt([3, ("image", [1, 4, 6]), 2, ("image", [1, 6, 4]), 4], 300, rng), [[1, 4, 6], [1, 6, 4]], [], []),
        ("clip", prompt([2, ("video", [3, 4, 4]), 3], 300, rng), [], [[3, 4, 4]], []),
        ("both", prompt([("video", [2, 4, 6]), 1, ("image", [1, 4, 4]), 5], 300, rng), [[1, 4, 4]], [[2, 4, 6]], []),
    ]
    write_case(folder, prompts, {"adapter": adapted(load, folder + "/adapter")}, (IMAGE, VIDEO), 96)


def qwen2_5_vl():
    torch.manual_seed(12)
    rng = random.Random(12)
    folder = OUT + "/qwen2_5-vl"
    os.makedirs(folder, exist_ok=True)
    special = (60, 61, 62, 63)
    config = Qwen2_5_VLConfig(
        text_config=dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                         num_key_value_heads=2, max_position_embeddings=256, rms_norm_eps=1e-6,
                         rope_parameters={"rope_type": "default", "rope_theta": 1e6, "mrope_section": [1, 1, 2]},
                         bos_token_id=1, eos_token_id=2, pad_token_id=None),
        vision_config=dict(depth=3, hidden_size=16, intermediate_size=20, num_heads=2, out_hidden_size=32, patch_size=4,
                           window_size=16, fullatt_block_indexes=[1], tokens_per_second=2, spatial_merge_size=2),
        image_token_id=60, video_token_id=61, vision_start_token_id=62, vision_end_token_id=63, tie_word_embeddings=False)
    model = Qwen2_5_VLForConditionalGeneration(config)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.7 / parameter[0].numel() ** 0.5 if "embed_tokens" not in name else 0.5)
        elif name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.1)
        else:
            torch.nn.init.normal_(parameter, mean=1.0, std=0.1)
    model.bfloat16().save_pretrained(folder + "/base")

    def load_from(path):
        return lambda dtype: Qwen2_5_VLForConditionalGeneration.from_pretrained(path, dtype=dtype, attn_implementation="eager")

    load = load_from(folder + "/base")
    tuned = get_peft_model(load(torch.bfloat16), LoraConfig(
        r=2, lora_alpha=4, task_type="CAUSAL_LM",
        target_modules=["qkv", "attn.proj", "gate_proj", "up_proj", "down_proj", "q_proj", "v_proj", "merger.mlp.0", "merger.mlp.2"]))
    randomise_lora(tuned)
    save_adapter(tuned.bfloat16(), folder + "/adapter", "vision/qwen2_5-vl")
    # One rounding of base + s B A: merged in float32, then stored.
    merged = PeftModel.from_pretrained(load(torch.float32), folder + "/adapter", autocast_adapter_dtype=False).float()
    merged.merge_and_unload().bfloat16().save_pretrained(folder + "/merged")
    prompts = [
        ("text", prompt([9], 60, rng, special), [], [], []),
        ("images", prompt([3, ("image", [1, 6, 10]), 2, ("image", [1, 4, 4]), 4], 60, rng, special), [[1, 6, 10], [1, 4, 4]], [], []),
        ("clip", prompt([2, ("video", [3, 6, 4]), 3], 60, rng, special), [], [[3, 6, 4]], [0.75]),
    ]
    write_case(folder, prompts, {"base": two(load), "adapter": adapted(load, folder + "/adapter"), "merged": two(load_from(folder + "/merged"))},
               special, 96)
    for part in ("base", "merged"):
        for name in os.listdir(f"{folder}/{part}"):
            if name not in ("config.json", "model.safetensors"):
                os.remove(f"{folder}/{part}/{name}")


def positions():
    rng = random.Random(13)
    lines = []
    for index in range(260):
        new = index >= 200  # absolute times
        kind = Qwen2_5_VLForConditionalGeneration if new else Qwen2VLForConditionalGeneration
        parts, images, videos, seconds = [], [], [], []
        for _ in range(rng.randrange(1, 5)):
            if rng.random() < 0.9:
                parts.append(rng.randrange(1, 7))
            grid = [1, 2 * rng.randrange(1, 4), 2 * rng.randrange(1, 4)]
            if rng.random() < 0.4:
                grid[0] = rng.randrange(1, 4)
                videos.append(grid)
                seconds.append(round(rng.uniform(0.2, 3.0), 2))
                parts.append(("video", grid))
            elif rng.random() < 0.8:
                images.append(grid)
                parts.append(("image", grid))
        parts.append(rng.randrange(1, 5))
        ids = prompt(parts, 300, rng)
        line = {"ids": ids, "images": images, "videos": videos}
        if images or videos:
            holder = type("Holder", (), {})()
            holder.config = type("C", (), {})()
            holder.config.vision_config = type("V", (), {"spatial_merge_size": 2, "tokens_per_second": 2})()
            model_class = __import__(kind.__module__, fromlist=["x"]).__dict__["Qwen2_5_VLModel" if new else "Qwen2VLModel"]
            holder.get_vision_position_ids = lambda *a, **k: model_class.get_vision_position_ids(holder, *a, **k)
            arguments = {"second_per_grid_ts": torch.tensor(seconds)} if new and videos else {}
            got, _ = model_class.get_rope_index(
                holder, torch.tensor([ids]), mm_token_type_ids=types(ids, IMAGE, VIDEO),
                image_grid_thw=torch.tensor(images) if images else None,
                video_grid_thw=torch.tensor(videos) if videos else None, **arguments)
            line["positions"] = got[:, 0].tolist()
        else:
            line["positions"] = [list(range(len(ids)))] * 3
        if new:
            line["tokens_per_second"] = 2
            line["seconds"] = seconds
        lines.append(json.dumps(line, separators=(",", ":")))
    open(OUT + "/positions.jsonl", "w").write("\n".join(lines) + "\n")


qwen2_vl()
qwen2_5_vl()
positions()
