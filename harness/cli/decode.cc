#include "harness/cli/decode.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <span>
#include <vector>

#include "harness/io/checkpoint.h"
#include "harness/io/safetensors_writer.h"
#include "kernels/core/convert.h"
#include "kernels/core/error.h"
#include "kernels/core/parallel.h"

namespace mg {
namespace {

/// Numbers of a plain tensor that are widened at once.
constexpr std::int64_t kPiece = 1 << 20;

void write_plain(const StoredTensor& tensor, SafetensorsWriter& writer) {
  const std::int64_t count = tensor.view.elements();
  const std::int64_t size = dtype_bits(tensor.view.dtype) / 8;
  std::vector<float> values(static_cast<std::size_t>(std::min(count, kPiece)));
  for (std::int64_t begin = 0; begin < count; begin += kPiece) {
    const std::int64_t piece = std::min(kPiece, count - begin);
    widen_to_float(tensor.view.dtype, tensor.view.data + begin * size, piece, values.data());
    writer.write(std::as_bytes(std::span(values).first(static_cast<std::size_t>(piece))));
  }
}

void require_numbers(const Checkpoint& checkpoint, const StoredTensor& tensor) {
  if (!is_plain(tensor.view.dtype) && tensor.view.dtype != DType::kF64) {
    throw Error({.code = "decode.format",
                 .what = "a tensor is no number that is known here, or a code without its scales",
                 .where = checkpoint.folder().string() + ", " + tensor.name,
                 .expected = "F16, BF16, F32, F64, or codes of a format that is read",
                 .actual = std::string(dtype_name(tensor.view.dtype)),
                 .hint = ""});
  }
}

}  // namespace

void decode_to_folder(const std::filesystem::path& model, const std::filesystem::path& folder) {
  if (std::filesystem::exists(folder)) {
    throw Error({.code = "decode.exists",
                 .what = "the folder to write is there already",
                 .where = folder.string(),
                 .expected = "a new folder",
                 .actual = "one that exists",
                 .hint = "remove it, or name another"});
  }
  const Checkpoint checkpoint = Checkpoint::open(model, {.decode = true});
  std::vector<TensorPlan> plan;
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    require_numbers(checkpoint, tensor);
    plan.push_back({.name = tensor.name, .dtype = DType::kF32, .shape = tensor.view.shape});
  }
  std::filesystem::create_directories(folder);
  ThreadPool pool(0);
  SafetensorsWriter writer(folder / "model.safetensors", plan);
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    const DecodedHold hold = checkpoint.decode(tensor, &pool);
    if (tensor.quantised != nullptr) {
      writer.write({tensor.view.data, tensor.view.bytes});
    } else {
      write_plain(tensor, writer);
    }
    checkpoint.release(tensor);
  }
  writer.finish();
  checkpoint.check_intact();
  nlohmann::json config = checkpoint.config();
  config.erase("quantization_config");
  config.erase("torch_dtype");
  config["dtype"] = "float32";
  std::ofstream(folder / "config.json") << config.dump(2) << "\n";
}

}  // namespace mg
