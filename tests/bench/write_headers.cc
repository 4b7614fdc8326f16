// Writes a checkpoint of an architecture's names and shapes as sparse files: headers, an index, and
// tensors that take no room on the disk.  For timing what reads headers alone (lint_large.sh). With
// ADAPTER, a folder, the tensors hold seeded random numbers, a piece of a tensor in memory at once,
// and an adapter of rank 16 on every linear map but the head is written as well
// (qwen2_vl_7b.sh).
// usage: write_headers CONFIG.json FOLDER SHARDS [ADAPTER]
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "harness/model/arch.h"
#include "harness/model/resolve.h"

namespace mg {
namespace {

namespace fs = std::filesystem;

std::uint64_t bytes_of(const ResolvedTensor& tensor) {
  return static_cast<std::uint64_t>(element_count(tensor.shape).value()) * 2;  // bfloat16
}

void write_shard(const fs::path& path, const std::vector<const ResolvedTensor*>& tensors) {
  nlohmann::json header = {{"__metadata__", {{"format", "pt"}}}};
  std::uint64_t end = 0;
  for (const ResolvedTensor* tensor : tensors) {
    const std::uint64_t begin = end;
    end += bytes_of(*tensor);
    header[tensor->expected_name] = {
        {"dtype", "BF16"}, {"shape", tensor->shape}, {"data_offsets", {begin, end}}};
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const std::uint64_t length = text.size();
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(&length), sizeof(length))
      .write(text.data(), static_cast<std::streamsize>(text.size()));
  fs::resize_file(path, sizeof(length) + text.size() + end);
}

/// BF16 numbers uniform in mean +- width, seeded by the tensor's name (splitmix64).
class Numbers {
 public:
  Numbers(const std::string& name, float mean, float width)
      : state_(std::hash<std::string>{}(name)), mean_(mean), width_(width) {}

  void fill(std::vector<std::uint16_t>& out) {
    for (std::uint16_t& value : out) {
      state_ += 0x9E3779B97F4A7C15ULL;
      std::uint64_t z = state_;
      z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
      z ^= z >> 27;
      const float number = mean_ + width_ * (static_cast<float>(z >> 40) * 0x1p-23F - 1.0F);
      value = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(number) >> 16);
    }
  }

 private:
  std::uint64_t state_;
  float mean_;
  float width_;
};

/// Writes the tensor's numbers to `out`: a map's outputs are about as large as its inputs, a norm's
/// weights near 1.
void write_numbers(std::ostream& out, const std::string& name, const Shape& shape, float gain) {
  std::int64_t left = element_count(shape).value();
  const auto inputs = static_cast<float>(shape.size() > 1 ? left / shape[0] : 1);
  const bool norm = shape.size() == 1 && !name.ends_with(".bias");
  const float width = shape.size() == 1 ? 0.1F : gain * std::sqrt(3.0F / inputs);
  Numbers numbers(name, norm ? 1.0F : 0.0F, width);
  constexpr std::int64_t kPiece = 1 << 20;
  for (; left > 0; left -= kPiece) {
    std::vector<std::uint16_t> piece(static_cast<std::size_t>(std::min(left, kPiece)));
    numbers.fill(piece);
    out.write(reinterpret_cast<const char*>(piece.data()),
              static_cast<std::streamsize>(piece.size() * sizeof(std::uint16_t)));
  }
}

void fill_shard(const fs::path& path, const std::vector<const ResolvedTensor*>& tensors) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  std::uint64_t length = 0;
  file.read(reinterpret_cast<char*>(&length), sizeof(length));
  file.seekp(static_cast<std::streamoff>(sizeof(length) + length));
  for (const ResolvedTensor* tensor : tensors) {
    write_numbers(file, tensor->expected_name, tensor->shape, 1.0F);
  }
}

void write_adapter(const fs::path& folder, const std::vector<ResolvedTensor>& tensors) {
  constexpr std::int64_t kRank = 16;
  fs::create_directories(folder);
  std::set<std::string> targets;
  nlohmann::json header = {{"__metadata__", {{"format", "pt"}}}};
  std::vector<std::pair<std::string, Shape>> parts;
  for (const ResolvedTensor& tensor : tensors) {
    if (tensor.rule->layout != Layout::kLinear || tensor.rule->role == Role::kLmHead) {
      continue;
    }
    const std::string module =
        tensor.expected_name.substr(0, tensor.expected_name.rfind(".weight"));
    // The last name alone would reach a patch embedding's "proj", too, and "0" says nothing.
    const std::size_t block = module.find("visual.blocks.");
    const std::size_t named = block == std::string::npos
                                  ? module.find("merger.") == std::string::npos
                                        ? module.rfind('.') + 1
                                        : module.find("merger.")
                                  : module.find('.', std::strlen("visual.blocks.")) + 1;
    targets.insert(module.substr(named));
    parts.push_back({"base_model.model." + module + ".lora_A.weight", {kRank, tensor.shape[1]}});
    parts.push_back({"base_model.model." + module + ".lora_B.weight", {tensor.shape[0], kRank}});
  }
  std::uint64_t end = 0;
  for (const auto& [name, shape] : parts) {
    const std::uint64_t begin = end;
    end += static_cast<std::uint64_t>(element_count(shape).value()) * 2;
    header[name] = {{"dtype", "BF16"}, {"shape", shape}, {"data_offsets", {begin, end}}};
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const std::uint64_t length = text.size();
  std::ofstream file(folder / "adapter_model.safetensors", std::ios::binary);
  file.write(reinterpret_cast<const char*>(&length), sizeof(length))
      .write(text.data(), static_cast<std::streamsize>(text.size()));
  for (const auto& [name, shape] : parts) {
    write_numbers(file, name, shape, name.find("lora_B") == std::string::npos ? 1.0F : 0.05F);
  }
  std::ofstream(folder / "adapter_config.json")
      << nlohmann::json{{"peft_type", "LORA"}, {"task_type", "CAUSAL_LM"},
                        {"r", kRank},          {"lora_alpha", 2 * kRank},
                        {"bias", "none"},      {"target_modules", targets}}
             .dump(2);
}

void write(const fs::path& config_path, const fs::path& folder, std::size_t shards,
           const char* adapter) {
  const nlohmann::json config = nlohmann::json::parse(std::ifstream(config_path));
  const ArchSpec& arch = find_architecture(config, config_path.string());
  const std::vector<ResolvedTensor> tensors =
      expected_tensors(arch, arch.read_config(config, config_path.string()));
  std::uint64_t total = 0;
  for (const ResolvedTensor& tensor : tensors) {
    total += tensor.rule->optional ? 0 : bytes_of(tensor);
  }
  std::vector<std::vector<const ResolvedTensor*>> parts(shards);
  std::uint64_t placed = 0;
  for (const ResolvedTensor& tensor : tensors) {
    if (!tensor.rule->optional) {
      parts[static_cast<std::size_t>(static_cast<double>(placed) / static_cast<double>(total) *
                                     static_cast<double>(shards))]
          .push_back(&tensor);
      placed += bytes_of(tensor);
    }
  }
  fs::create_directories(folder);
  fs::copy_file(config_path, folder / "config.json", fs::copy_options::overwrite_existing);
  nlohmann::json index = {{"metadata", {{"total_size", total}}}};
  for (std::size_t part = 0; part < shards; ++part) {
    char name[64];
    std::snprintf(name, sizeof(name), "model-%05zu-of-%05zu.safetensors", part + 1, shards);
    for (const ResolvedTensor* tensor : parts[part]) {
      index["weight_map"][tensor->expected_name] = name;
    }
    write_shard(folder / name, parts[part]);
    if (adapter != nullptr) {
      fill_shard(folder / name, parts[part]);
    }
  }
  std::ofstream(folder / "model.safetensors.index.json") << index.dump(2);
  if (adapter != nullptr) {
    write_adapter(adapter, tensors);
  }
  std::printf("%zu tensors, %.0f GB in %zu shards\n", index["weight_map"].size(),
              static_cast<double>(total) / 1e9, shards);
}

}  // namespace
}  // namespace mg

int main(int count, char** words) {
  if (count != 4 && count != 5) {
    std::fprintf(stderr, "usage: write_headers CONFIG.json FOLDER SHARDS [ADAPTER]\n");
    return 2;
  }
  try {
    mg::write(words[1], words[2], static_cast<std::size_t>(std::max(1, std::atoi(words[3]))),
              count == 5 ? words[4] : nullptr);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
