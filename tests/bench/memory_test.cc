// Peak anonymous memory does not grow with the number of layers: weights stay in the files, one
// layer at a time in memory.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "harness/lanes/checkpoint_source.h"
#include "harness/lanes/lockstep.h"
#include "harness/run/memory.h"
#include "harness/run/models.h"
#include "kernels/registry.h"
#include "tests/bench/synthetic_model.h"

namespace mg {
namespace {

class Ignore final : public Observer {
 public:
  void logits(const LogitChunk& rows) override { static_cast<void>(rows); }
};

class Folder {
 public:
  Folder()
      : path_(std::filesystem::temp_directory_path() /
              ("mergegauge-memory-test." + std::to_string(::getpid()))) {}
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// The process's peak of anonymous memory during a forward pass with base and adapter side by side.
std::uint64_t peak_of_pass(const std::filesystem::path& folder) {
  const OpenModel model(folder / "base");
  const OpenAdapter adapter(folder / "adapter", model);
  CheckpointSource base(model.checkpoint, model.model);
  CheckpointSource adapted(model.checkpoint, model.model, &adapter.attached);
  ThreadPool pool(2);
  const auto backend = make_backend("cpu", {.pool = &pool, .isa = {}});
  const Lane lanes[] = {{"base", &base, backend.get()}, {"adapter", &adapted, backend.get()}};
  Batch batch;
  batch.add("p", std::vector<std::int32_t>(200, 17));
  LockstepOptions options;
  options.subjects = {1};
  Ignore observer;
  MemoryWatch watch;
  run_lockstep(pool, lanes, batch, options, observer);
  return watch.peaks().anonymous_peak_bytes;
}

TEST(Memory, PeakDoesNotGrowWithTheNumberOfLayers) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer's own memory grows with every allocation";
#endif
  const Folder folder;
  test::SyntheticShape shape{.layers = 4,
                             .hidden = 256,
                             .intermediate = 704,
                             .heads = 4,
                             .kv_heads = 2,
                             .vocabulary = 512,
                             .rank = 8};
  const auto write = [&](std::int64_t layers) {
    shape.layers = layers;
    const std::filesystem::path path = folder.path() / std::to_string(layers);
    test::write_synthetic_base(path / "base", shape);
    test::write_synthetic_adapter(path / "adapter", shape);
    return path;
  };
  const std::filesystem::path few = write(4);
  const std::filesystem::path many = write(32);
  peak_of_pass(few);  // what the heap keeps after a pass counts in both of the next
  const std::uint64_t peak_few = peak_of_pass(few);
  const std::uint64_t peak_many = peak_of_pass(many);
  ASSERT_GT(peak_few, 0U);
  // A layer has 737 280 weights in FP16; 28 more that stayed would be 41 MB.  Their names, views
  // and places of drift, some kilobytes a layer, may come and go.
  constexpr std::uint64_t kLayer = 737280 * 2;
  EXPECT_LT(peak_many, peak_few + 2 * kLayer);
}

}  // namespace
}  // namespace mg
