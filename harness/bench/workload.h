// One contestant's work in one setting: a prefill or some decoding steps, the same each time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "harness/bench/bench.h"
#include "harness/lanes/decoder.h"

namespace mg {

class Workload {
 public:
  Workload(Backend& backend, const BenchLane& lane, const BenchSetting& setting,
           std::int64_t decode_steps);

  /// Prefill: the prompts from nothing.  Decode: each prompt's next tokens, from the same place.
  void turn();
  /// Tokens of one turn: prompts' tokens, or steps times prompts.
  double tokens() const { return tokens_; }
  std::uint64_t cache_bytes() const { return decoder_.cache_bytes(); }

  /// What the caches of a setting take.
  static std::uint64_t cache_bytes_of(const BenchLane& lane, const BenchSetting& setting,
                                      std::int64_t decode_steps);

 private:
  bool decodes_;
  std::int64_t length_;
  std::int64_t steps_;
  std::vector<NewTokens> next_;  // what a step feeds
  Decoder decoder_;
  double tokens_ = 0;
};

}  // namespace mg
