// Writes a checkpoint of an architecture's names and shapes as sparse files: headers, an index, and
// tensors that take no room on the disk.  For timing what reads headers alone (lint_large.sh).
// usage: write_headers CONFIG.json FOLDER SHARDS
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
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

void write(const fs::path& config_path, const fs::path& folder, std::size_t shards) {
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
  }
  std::ofstream(folder / "model.safetensors.index.json") << index.dump(2);
  std::printf("%zu tensors, %.0f GB in %zu shards\n", index["weight_map"].size(),
              static_cast<double>(total) / 1e9, shards);
}

}  // namespace
}  // namespace mg

int main(int count, char** words) {
  if (count != 4) {
    std::fprintf(stderr, "usage: write_headers CONFIG.json FOLDER SHARDS\n");
    return 2;
  }
  try {
    mg::write(words[1], words[2], static_cast<std::size_t>(std::max(1, std::atoi(words[3]))));
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
