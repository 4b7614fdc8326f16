// Merges with planted faults, to show that each is caught: for `selftest`, `check --demo --break`
// and tests.  Faults of the weights are planted into what is read (DamagedTensors), faults of the
// files into a folder of links (write_damaged_files): the merge itself is never written to.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "harness/io/altered_tensors.h"
#include "harness/run/models.h"
#include "kernels/core/parallel.h"

namespace mg {

enum class Damage {
  kNone,            // the right merge, rounded once
  kTwice,           // the delta added twice
  kDropLayer,       // the middle one of the adapted layers left at the base
  kTranspose,       // the delta of square matrices transposed
  kBf16,            // merged in BF16 on the way to the stored dtype
  kBase,            // nothing merged
  kScale2,          // 2 % too much of the delta
  kNan,             // one element of an adapted tensor is NaN
  kBit,             // the lowest bit of one element that the adapter does not touch
  kStaleTokenizer,  // every ordinary token one id off, as in another revision of the tokenizer
  kLeftoverConfig,  // a quantization_config left in config.json
  kRopeTheta,       // config.json of another revision: rope_theta ten times as large
};

struct DamageName {
  std::string_view name;  // as `--break` takes it
  Damage damage;
  std::string_view story;  // one line for people
  bool in_files;           // in configs or tokenizer files, not in the weights
  // What the checks must say of it: rules of findings, names of gates.
  std::vector<std::string_view> expected;
  // Whether the check must fail; a detour is a legitimate recipe with a price, and only warned of.
  bool fails;
};
const std::vector<DamageName>& damages();
/// Throws a usage Error "demo.unknown-damage" naming those known.
const DamageName& damage_from_name(std::string_view name);

/// What is read of `merged` as a damaged merge of this base and adapter would hold it.  All
/// arguments must outlive it.
class DamagedTensors final : public AlteredTensors {
 public:
  /// `damage`: one of the weights.
  DamagedTensors(const OpenModel& base, const OpenAdapter& adapter, const OpenModel& merged,
                 Damage damage);

  /// Why the damage cannot be planted here ("merged is stored as BF16"); empty where it can.
  const std::string& not_planted() const { return not_planted_; }

  bool alters(const StoredTensor& tensor) const override { return bases_.count(&tensor) > 0; }
  std::vector<std::byte> read(const StoredTensor& tensor) const override;

 private:
  /// Whether the damage changes a tensor that is a target of the adapter, trained by it at all, in
  /// the middle layer.
  bool is_damaged(const TensorView& merged, bool target, bool trained, bool in_middle) const;

  const OpenModel& base_;
  const OpenModel& merged_;
  const OpenAdapter& adapter_;
  Damage damage_;
  // merged's tensors that are altered, and the base's beside them
  std::map<const StoredTensor*, const StoredTensor*> bases_;
  std::string not_planted_;
};

/// Writes base + adapter, damaged, as a one-file checkpoint into `out` (created), with base's JSON
/// files beside it.
void write_damaged_merge(const OpenModel& base, const OpenAdapter& adapter, Damage damage,
                         const std::filesystem::path& out, ThreadPool& pool);

/// Fills `out` (created) with links to the files of `merged` and plants a damage of the files.
/// Returns why it cannot be planted there ("merged has no tokenizer.json"), or an empty text.
std::string write_damaged_files(const std::filesystem::path& merged, Damage damage,
                                const std::filesystem::path& out);

}  // namespace mg
