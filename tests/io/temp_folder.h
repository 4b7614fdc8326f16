// A folder that a test fills with files and that goes away with it.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/core/dtype.h"
#include "kernels/core/error.h"
#include "kernels/core/shape.h"

namespace mg {

struct TestTensor {
  std::string name;
  Shape shape;
  DType dtype = DType::kF32;
};

/// A whole safetensors file from a header's text and its data.
inline std::string safetensors_bytes(std::string_view header, std::string_view data = {}) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) {
    bytes += static_cast<char>(header.size() >> (8 * i) & 0xFF);
  }
  return bytes.append(header).append(data);
}

/// A valid file with these tensors, their bytes counted up from 0.
inline std::string safetensors_bytes(const std::vector<TestTensor>& tensors) {
  std::string header = "{\"__metadata__\":{\"format\":\"pt\"}";
  std::int64_t end = 0;
  for (const TestTensor& tensor : tensors) {
    const std::int64_t begin = end;
    end += element_count(tensor.shape).value() * dtype_bits(tensor.dtype) / 8;
    header += ",\"" + tensor.name + "\":{\"dtype\":\"" + std::string(dtype_name(tensor.dtype)) +
              "\",\"shape\":" + to_string(tensor.shape) + ",\"data_offsets\":[" +
              std::to_string(begin) + "," + std::to_string(end) + "]}";
  }
  std::string data(static_cast<std::size_t>(end), '\0');
  for (std::size_t i = 0; i < data.size(); ++i) {
    data[i] = static_cast<char>(i);
  }
  return safetensors_bytes(header + "}", data);
}

class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "mergegauge-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) {
      throw std::runtime_error("cannot make a temporary folder: " + name);
    }
    path_ = name;
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }

  std::filesystem::path write(const std::string& name, std::string_view text) const {
    const std::filesystem::path file = path_ / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary)
        .write(text.data(), static_cast<std::streamsize>(text.size()));
    return file;
  }
  std::filesystem::path write_tensors(const std::string& name,
                                      const std::vector<TestTensor>& tensors) const {
    return write(name, safetensors_bytes(tensors));
  }

  /// The message of the Error that `action` throws, this folder's path written DIR; "no error" if
  /// none comes.
  std::string error_of(const std::function<void()>& action) const {
    try {
      action();
    } catch (const Error& error) {
      std::string text = error.what();
      const std::string name = path_.string();
      for (std::size_t at = text.find(name); at != std::string::npos; at = text.find(name, at)) {
        text.replace(at, name.size(), "DIR");
      }
      return text;
    }
    return "no error";
  }

 private:
  std::filesystem::path path_;
};

}  // namespace mg
