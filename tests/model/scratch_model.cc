#include "tests/model/scratch_model.h"

#include <unistd.h>

#include <cstring>
#include <fstream>
#include <stdexcept>

#include "kernels/core/dtype.h"

namespace mg {

namespace fs = std::filesystem;

void write_safetensors(const fs::path& path, const ScratchTensors& tensors) {
  nlohmann::json header = {{"__metadata__", {{"format", "pt"}}}};
  std::string data;
  for (const auto& [name, tensor] : tensors) {
    const std::int64_t bits =
        dtype_bits(dtype_from_name(tensor.dtype).value()) * element_count(tensor.shape).value();
    const std::size_t begin = data.size();
    data.resize(begin + static_cast<std::size_t>(bits / 8));
    if (!tensor.values.empty()) {
      if (tensor.values.size() * sizeof(float) != data.size() - begin) {
        throw std::invalid_argument("values do not fill " + name);
      }
      std::memcpy(data.data() + begin, tensor.values.data(), data.size() - begin);
    }
    header[name] = {
        {"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {begin, data.size()}}};
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const std::uint64_t length = text.size();
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(&length), sizeof(length));
  file << text << data;
}

ScratchTensors read_header(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::uint64_t length = 0;
  file.read(reinterpret_cast<char*>(&length), sizeof(length));
  std::string text(length, ' ');
  file.read(text.data(), static_cast<std::streamsize>(length));
  ScratchTensors tensors;
  const nlohmann::json header = nlohmann::json::parse(text);
  for (const auto& [name, record] : header.items()) {
    if (name != "__metadata__") {
      tensors[name] = {.dtype = record.at("dtype"), .shape = record.at("shape").get<Shape>()};
    }
  }
  return tensors;
}

ScratchFolder::ScratchFolder() {
  std::string pattern = (fs::temp_directory_path() / "mergegauge-test-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) {
    throw std::runtime_error("cannot make a temporary folder");
  }
  path_ = pattern;
}

ScratchFolder::~ScratchFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

fs::path ScratchFolder::write_model(const std::string& name, const nlohmann::json& config,
                                    const ScratchTensors& tensors) const {
  const fs::path folder = path_ / name;
  fs::create_directories(folder);
  std::ofstream(folder / "config.json") << config.dump(2);
  write_safetensors(folder / "model.safetensors", tensors);
  return folder;
}

fs::path ScratchFolder::write_adapter(const std::string& name, const nlohmann::json& config,
                                      const ScratchTensors& tensors) const {
  const fs::path folder = path_ / name;
  fs::create_directories(folder);
  std::ofstream(folder / "adapter_config.json") << config.dump(2);
  write_safetensors(folder / "adapter_model.safetensors", tensors);
  return folder;
}

nlohmann::json load_json(const fs::path& path) {
  std::ifstream file(path);
  return nlohmann::json::parse(file);
}

}  // namespace mg
