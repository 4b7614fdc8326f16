// The rotary angles of a whole batch, computed and uploaded once for each distinct setting among
// the lanes.
#pragma once

#include <memory>
#include <vector>

#include "harness/lanes/batch.h"

namespace mg {

/// Consecutive rows of one prompt.
struct RopePositions {
  std::int64_t length = 0;  // the prompt's whole length, which some kinds of rope depend on
  std::vector<Position> positions;
};

class RopeTables {
 public:
  /// Tables for every rope of every config, a row for each position.
  RopeTables(Backend& backend, const std::vector<const ModelConfig*>& configs,
             const std::vector<RopePositions>& prompts);
  /// Rows of whole prompts.
  RopeTables(Backend& backend, const std::vector<const ModelConfig*>& configs, const Batch& batch);

  /// Rows [begin, begin + count) of the table of `config`'s rope with this index.
  RopeRows rows(const ModelConfig& config, int rope, std::int64_t begin, std::int64_t count) const;

 private:
  struct Entry {
    RopeConfig rope;
    std::int64_t head_dim = 0;
    std::int64_t rotary_dim = 0;
    std::unique_ptr<Buffer> cos;
    std::unique_ptr<Buffer> sin;
  };
  const Entry* find(const ModelConfig& config, int rope) const;

  std::vector<Entry> entries_;
  std::int64_t tokens_ = 0;
};

}  // namespace mg
