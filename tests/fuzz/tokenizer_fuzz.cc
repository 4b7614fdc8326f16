// A tokenizer.json and, after a NUL byte, a text for it: encoded, and decoded again.
#include <algorithm>
#include <cstdint>
#include <string_view>

#include "harness/io/tokenizer/tokenizer.h"
#include "tests/fuzz/expect_input_errors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t end = std::min(input.find('\0'), input.size());
  const std::string_view text = input.substr(std::min(end + 1, input.size()));
  mg::expect_input_errors([&] {
    const mg::Tokenizer tokenizer = mg::Tokenizer::parse(input.substr(0, end), "tokenizer.json");
    const mg::TokenizedText tokens = tokenizer.encode_with_spans(text, true);
    mg::require(tokens.ids.size() == tokens.spans.size());
    for (std::size_t i = 0; i < tokens.ids.size(); ++i) {
      const auto& [begin, end_of_token] = tokens.spans[i];
      mg::require(begin <= end_of_token && end_of_token <= text.size());
      mg::require(tokens.ids[i] >= 0);
    }
    tokenizer.decode(tokens.ids, false);
  });
  return 0;
}
