#include "harness/audit/merge.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <span>

#include "harness/audit/merge_files.h"
#include "harness/audit/merge_plan.h"
#include "harness/io/safetensors_writer.h"
#include "harness/model/delta.h"
#include "kernels/core/convert.h"
#include "kernels/core/error.h"
#include "kernels/core/rounding.h"
#include "kernels/core/shape.h"

namespace mg {
namespace {

// Elements in memory at a time, and per task.
constexpr std::int64_t kSlabElements = 1 << 22;
constexpr std::int64_t kTaskElements = 1 << 16;

std::size_t bytes_of(DType dtype, std::int64_t elements) {
  return to_index(elements * dtype_bits(dtype) / 8);
}

/// Magnitudes from here on round to infinity.
double overflow_limit(DType dtype) {
  const GridFormat format = grid_format(dtype);
  return format.overflow * (1.0 - std::ldexp(1.0, format.shift - 54));
}

/// Computes rows of one tensor as they are to be stored.
class TensorMerger {
 public:
  explicit TensorMerger(const MergeTensor& tensor) : tensor_(tensor) {
    if (tensor.delta != nullptr) {
      delta_.emplace_back(*tensor.delta);
    }
    if (tensor.bias_delta != nullptr) {
      delta_.push_back(DeltaRows::for_bias(*tensor.bias_delta));
    }
    cols_ = delta_.empty()
                ? std::max<std::int64_t>(1, tensor.start.shape.size() > 1
                                                ? tensor.start.elements() /
                                                      std::max<std::int64_t>(1, tensor.start.dim(0))
                                                : 1)
                : delta_.front().cols();
  }

  std::int64_t cols() const { return cols_; }
  std::int64_t rows() const { return tensor_.start.elements() / cols_; }

  void run(std::int64_t begin, std::int64_t end, std::byte* out) const {
    const std::int64_t n = (end - begin) * cols_;
    std::vector<double> values(to_index(n));
    widen_to_double(tensor_.start.dtype,
                    tensor_.start.data + bytes_of(tensor_.start.dtype, begin * cols_), n,
                    values.data());
    std::vector<double> d(delta_.empty() ? 0 : to_index(n));
    for (const DeltaRows& delta : delta_) {
      delta.compute(begin, end, d.data());
      for (std::size_t i = 0; i < values.size(); ++i) {
        values[i] += d[i];
      }
    }
    check(values, begin);
    narrow_from_double(tensor_.dtype, values.data(), n, out);
    if (tensor_.rows != nullptr) {
      replace_rows(begin, end, out);
    }
  }

 private:
  void check(const std::vector<double>& values, std::int64_t begin) const {
    if (tensor_.dtype == DType::kF64) {
      return;
    }
    const double limit = overflow_limit(tensor_.dtype);
    bool bad = false;
    for (const double value : values) {
      bad = bad || !(std::fabs(value) < limit);
    }
    if (!bad) {
      return;
    }
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (!(std::fabs(values[i]) < limit)) {
        fail(values[i], begin * cols_ + static_cast<std::int64_t>(i));
      }
    }
  }

  [[noreturn]] void fail(double value, std::int64_t at) const {
    const bool finite = std::isfinite(value);
    throw Error(
        {.code = finite ? "merge.overflow" : "merge.non-finite",
         .what = finite
                     ? fmt::format("a merged value is too large for {}", dtype_name(tensor_.dtype))
                     : "a merged value is not finite: the base or the adapter is broken there",
         .where = fmt::format("{}, row {}, column {}", tensor_.name, at / cols_, at % cols_),
         .expected = fmt::format("magnitude below {:.8g}", overflow_limit(tensor_.dtype)),
         .actual = fmt::format("{:.8g}", value),
         .hint = finite ? "use --dtype bfloat16 or float32" : ""});
  }

  void replace_rows(std::int64_t begin, std::int64_t end, std::byte* out) const {
    const TensorView& value = tensor_.rows->value;
    std::vector<double> row(to_index(cols_));
    for (std::size_t i = 0; i < tensor_.rows->rows.size(); ++i) {
      const std::int64_t at = tensor_.rows->rows[i];
      if (at >= begin && at < end) {
        widen_to_double(value.dtype,
                        value.data + bytes_of(value.dtype, static_cast<std::int64_t>(i) * cols_),
                        cols_, row.data());
        narrow_from_double(tensor_.dtype, row.data(), cols_,
                           out + bytes_of(tensor_.dtype, (at - begin) * cols_));
      }
    }
  }

  const MergeTensor& tensor_;
  std::vector<DeltaRows> delta_;
  std::int64_t cols_ = 1;
};

/// Tensors of one weight file.
struct Shard {
  std::vector<const MergeTensor*> tensors;
  std::string file;
};

std::uint64_t stored_bytes(const MergeTensor& tensor) {
  return tensor.dtype == tensor.start.dtype ? tensor.start.bytes
                                            : bytes_of(tensor.dtype, tensor.start.elements());
}

std::vector<Shard> cut_into_shards(const MergePlan& plan, std::uint64_t limit) {
  std::vector<Shard> shards(1);
  std::uint64_t bytes = 0;
  for (const MergeTensor& tensor : plan.tensors) {
    const std::uint64_t size = stored_bytes(tensor);
    if (bytes > 0 && bytes + size > limit) {
      shards.emplace_back();
      bytes = 0;
    }
    shards.back().tensors.push_back(&tensor);
    bytes += size;
  }
  for (std::size_t i = 0; i < shards.size(); ++i) {
    shards[i].file = shards.size() == 1
                         ? "model.safetensors"
                         : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
  }
  return shards;
}

class FolderWriter {
 public:
  FolderWriter(const Checkpoint& base, const MergePlan& plan, const std::filesystem::path& folder,
               ThreadPool& pool, const MergeOptions& options)
      : base_(base), plan_(plan), folder_(folder), pool_(pool), options_(options) {
    for (const MergeTensor& tensor : plan.tensors) {
      total_ += stored_bytes(tensor);
    }
  }

  MergeSummary run() {
    MergeSummary summary;
    const std::vector<Shard> shards = cut_into_shards(plan_, options_.shard_bytes);
    for (const Shard& shard : shards) {
      write_shard(shard);
      summary.weight_files.push_back(shard.file);
    }
    if (shards.size() > 1) {
      write_index(shards);
    }
    for (const MergeTensor& tensor : plan_.tensors) {
      ++summary.tensors;
      summary.merged += tensor.delta != nullptr || tensor.bias_delta != nullptr ? 1 : 0;
      summary.replaced += tensor.replaced || tensor.rows != nullptr ? 1 : 0;
      summary.dequantised += is_dequantised(tensor) ? 1 : 0;
    }
    summary.bytes = total_;
    return summary;
  }

 private:
  void write_shard(const Shard& shard) {
    std::vector<TensorPlan> plans;
    for (const MergeTensor* tensor : shard.tensors) {
      plans.push_back({tensor->name, tensor->dtype, tensor->start.shape});
    }
    SafetensorsWriter writer(folder_ / shard.file, plans);
    for (const MergeTensor* tensor : shard.tensors) {
      write_tensor(*tensor, writer);
    }
    writer.finish();
  }

  void write_tensor(const MergeTensor& tensor, SafetensorsWriter& writer) {
    const DecodedHold hold = tensor.base == nullptr ? nullptr : base_.decode(*tensor.base, &pool_);
    const bool copied = tensor.delta == nullptr && tensor.bias_delta == nullptr &&
                        tensor.rows == nullptr && tensor.dtype == tensor.start.dtype;
    if (copied) {
      writer.write({tensor.start.data, tensor.start.bytes});
      advance(tensor.start.bytes);
    } else {
      compute_tensor(tensor, writer);
    }
    if (const StoredTensor* stored = base_.find(tensor.name)) {
      base_.release(*stored);
    }
  }

  void compute_tensor(const MergeTensor& tensor, SafetensorsWriter& writer) {
    const TensorMerger merger(tensor);
    const std::int64_t cols = merger.cols();
    const std::int64_t slab = std::max<std::int64_t>(1, kSlabElements / cols);
    const std::int64_t task = std::max<std::int64_t>(1, kTaskElements / cols);
    std::vector<std::byte> bytes;
    for (std::int64_t begin = 0; begin < merger.rows(); begin += slab) {
      const std::int64_t rows = std::min(slab, merger.rows() - begin);
      bytes.resize(bytes_of(tensor.dtype, rows * cols));
      pool_.for_chunks(rows, task, [&](std::int64_t first, std::int64_t last) {
        merger.run(begin + first, begin + last,
                   bytes.data() + bytes_of(tensor.dtype, first * cols));
      });
      writer.write(bytes);
      advance(bytes.size());
    }
  }

  void write_index(const std::vector<Shard>& shards) const {
    nlohmann::ordered_json map = nlohmann::ordered_json::object();
    for (const Shard& shard : shards) {
      for (const MergeTensor* tensor : shard.tensors) {
        map[tensor->name] = shard.file;
      }
    }
    const nlohmann::ordered_json index = {{"metadata", {{"total_size", total_}}},
                                          {"weight_map", std::move(map)}};
    write_text(folder_ / "model.safetensors.index.json", index.dump(2) + "\n");
  }

  void advance(std::uint64_t bytes) {
    done_ += bytes;
    if (options_.progress) {
      options_.progress(done_, total_);
    }
  }

  const Checkpoint& base_;
  const MergePlan& plan_;
  const std::filesystem::path& folder_;
  ThreadPool& pool_;
  const MergeOptions& options_;
  std::uint64_t done_ = 0;
  std::uint64_t total_ = 0;
};

/// A folder beside the final one; gone unless commit() was called.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(const std::filesystem::path& target) : target_(target) {
    path_ = target;
    path_ += ".partial";
    std::error_code error;
    if (!std::filesystem::create_directories(path_, error) || error) {
      throw Error({.code = "merge.folder",
                   .what = "cannot make the temporary folder of the merge",
                   .where = path_.string(),
                   .expected = "a folder that does not exist yet, in one that can be written to",
                   .actual = error ? error.message() : "it exists",
                   .hint = error ? "" : "remove what an interrupted merge left there"});
    }
  }
  ~TemporaryFolder() {
    if (!committed_) {
      std::error_code ignored;
      std::filesystem::remove_all(path_, ignored);
    }
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }

  void commit() {
    std::error_code error;
    std::filesystem::rename(path_, target_, error);
    if (error) {
      throw Error({.code = "output.cannot-write",
                   .what = "cannot give the finished merge its name",
                   .where = target_.string(),
                   .expected = {},
                   .actual = error.message(),
                   .hint = {}});
    }
    committed_ = true;
  }

 private:
  std::filesystem::path target_;
  std::filesystem::path path_;
  bool committed_ = false;
};

std::filesystem::path without_trailing_slash(const std::filesystem::path& path) {
  return path.has_filename() ? path : path.parent_path();
}

}  // namespace

MergeSummary merge_to_folder(const Checkpoint& base, const Adapter& adapter,
                             const AttachedAdapter& attached, const std::filesystem::path& out,
                             ThreadPool& pool, const MergeOptions& options) {
  const std::filesystem::path target = without_trailing_slash(out);
  std::error_code ignored;
  if (std::filesystem::exists(std::filesystem::symlink_status(target, ignored))) {
    throw Error({.code = "merge.exists",
                 .what = "the output folder exists; nothing is overwritten",
                 .where = target.string(),
                 .expected = "a path that does not exist",
                 .actual = {},
                 .hint = "name another folder, or remove this one"});
  }
  const MergePlan plan = plan_merge(base, adapter, attached, options.dtype);
  TemporaryFolder folder(target);
  MergeSummary summary = FolderWriter(base, plan, folder.path(), pool, options).run();
  summary.config_changes = write_config(base, plan, options, folder.path());
  const std::vector<SideFile> side_files = copy_side_files(base, adapter, folder.path());
  for (const SideFile& file : side_files) {
    summary.side_files.push_back(file.name);
  }
  base.check_intact();
  adapter.check_intact();
  write_provenance(base, adapter, plan, options, summary, side_files, folder.path(), pool);
  folder.commit();
  return summary;
}

}  // namespace mg
