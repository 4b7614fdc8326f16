// Writes a synthetic base, adapter and suite of a given size:
//
//   write_synthetic OUT [--layers=30] [--hidden=576] [--intermediate=1536] [--heads=9]
//                       [--kv-heads=3] [--vocabulary=49152] [--prompts=64] [--tokens=128]
//
// to OUT/base, OUT/adapter and OUT/suite.jsonl; `mergegauge merge` makes the third folder.
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include "tests/bench/synthetic_model.h"

int main(int argc, char** argv) {
  mg::test::SyntheticShape shape;
  std::int64_t prompts = 64;
  std::int64_t tokens = 128;
  const std::map<std::string, std::int64_t*> numbers{{"--layers", &shape.layers},
                                                     {"--hidden", &shape.hidden},
                                                     {"--intermediate", &shape.intermediate},
                                                     {"--heads", &shape.heads},
                                                     {"--kv-heads", &shape.kv_heads},
                                                     {"--vocabulary", &shape.vocabulary},
                                                     {"--prompts", &prompts},
                                                     {"--tokens", &tokens}};
  std::filesystem::path out;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const auto equals = argument.find('=');
    const auto number = numbers.find(argument.substr(0, equals));
    if (number != numbers.end() && equals != std::string::npos) {
      *number->second = std::atoll(argument.c_str() + equals + 1);
    } else if (!argument.starts_with("--") && out.empty()) {
      out = argument;
    } else {
      std::fprintf(stderr, "write_synthetic: unknown argument %s\n", argv[i]);
      return 2;
    }
  }
  if (out.empty()) {
    std::fprintf(stderr, "usage: write_synthetic OUT [--NAME=NUMBER ...]\n");
    return 2;
  }
  mg::test::write_synthetic_base(out / "base", shape);
  mg::test::write_synthetic_adapter(out / "adapter", shape);
  mg::test::write_synthetic_suite(out / "suite.jsonl", prompts, tokens, shape.vocabulary);
  return 0;
}
