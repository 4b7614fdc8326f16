#define PCRE2_CODE_UNIT_WIDTH 8
#include "harness/io/tokenizer/regex.h"

#include <pcre2.h>

#include <algorithm>
#include <array>
#include <bitset>
#include <utility>

#include "harness/io/tokenizer/regex_syntax.h"
#include "harness/io/tokenizer/unicode.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

constexpr std::uint32_t kMatchLimit = 500'000'000;  // backtracking steps of one match
constexpr std::size_t kJitStackBytes = std::size_t{64} << 20U;

template <auto release>
struct Release {
  template <typename T>
  void operator()(T* pointer) const {
    release(pointer);
  }
};

// Blocks of 256 code points that hold a character with a stand-in: a fast "no" for nearly every
// character.
std::bitset<0x1100> stand_in_blocks() {
  std::bitset<0x1100> blocks;
  for (const StandIn& row : regex_stand_ins()) {
    for (char32_t block = row.first >> 8U; block <= row.last >> 8U; ++block) {
      blocks.set(block);
    }
  }
  return blocks;
}

char32_t stand_in_of(char32_t c) {
  const auto table = regex_stand_ins();
  const auto after =
      std::upper_bound(table.begin(), table.end(), c,
                       [](char32_t value, const StandIn& row) { return value < row.first; });
  return after != table.begin() && c <= (after - 1)->last ? (after - 1)->stand_in : c;
}

std::string pcre2_message(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  const auto* bytes = static_cast<const void*>(text.data());
  return static_cast<const char*>(bytes);
}

}  // namespace

struct RegexScratch::State {
  std::unique_ptr<pcre2_match_data, Release<pcre2_match_data_free>> data{
      pcre2_match_data_create(1, nullptr)};
  std::unique_ptr<pcre2_match_context, Release<pcre2_match_context_free>> context{
      pcre2_match_context_create(nullptr)};
  std::unique_ptr<pcre2_jit_stack, Release<pcre2_jit_stack_free>> stack{
      pcre2_jit_stack_create(std::size_t{64} << 10U, kJitStackBytes, nullptr)};
  std::string copy;  // the text with stand-ins
};

RegexScratch::RegexScratch() : state_(std::make_unique<State>()) {
  MG_CHECK(state_->data != nullptr && state_->context != nullptr, "out of memory");
  pcre2_set_match_limit(state_->context.get(), kMatchLimit);
  pcre2_set_depth_limit(state_->context.get(), kMatchLimit);
  pcre2_set_heap_limit(state_->context.get(), 1U << 20U);  // KiB
  pcre2_jit_stack_assign(state_->context.get(), nullptr, state_->stack.get());
}
RegexScratch::~RegexScratch() = default;

struct Regex::Code {
  std::unique_ptr<pcre2_code, Release<pcre2_code_free>> code;
  std::bitset<0x1100> blocks = stand_in_blocks();
  std::string where;
  bool jit = false;

  std::string_view with_stand_ins(std::string_view text, std::string& copy) const;
  int match(std::string_view text, std::size_t at, pcre2_match_data* data,
            pcre2_match_context* context) const;
};

// `text`, or a copy whose newer characters are replaced by equally long ones of the same class:
// offsets stay valid.
std::string_view Regex::Code::with_stand_ins(std::string_view text, std::string& copy) const {
  bool copied = false;
  std::size_t at = 0;
  while (at < text.size()) {
    if (static_cast<unsigned char>(text[at]) < 0xE0) {  // all of them take three bytes or more
      ++at;
      continue;
    }
    const CodePoint c = code_point_at(text, at);
    if (blocks.test(c.value >> 8U)) {
      const char32_t other = stand_in_of(c.value);
      if (other != c.value) {
        if (!copied) {
          copy.assign(text);
          copied = true;
        }
        copy.replace(at, c.bytes, to_utf8(other));
      }
    }
    at += c.bytes;
  }
  return copied ? std::string_view(copy) : text;
}

int Regex::Code::match(std::string_view text, std::size_t at, pcre2_match_data* data,
                       pcre2_match_context* context) const {
  const auto* subject = static_cast<PCRE2_SPTR>(static_cast<const void*>(text.data()));
  int rc = PCRE2_ERROR_JIT_STACKLIMIT;
  if (jit) {
    rc = pcre2_jit_match(code.get(), subject, text.size(), at, 0, data, context);
  }
  if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
    rc = pcre2_match(code.get(), subject, text.size(), at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data,
                     context);
  }
  if (rc < 0 && rc != PCRE2_ERROR_NOMATCH) {
    throw Error({.code = "tokenizer.regex-limit",
                 .what = "matching a regular expression failed: " + pcre2_message(rc),
                 .where = where,
                 .expected = {},
                 .actual = "a text of " + std::to_string(text.size()) + " bytes",
                 .hint = {}});
  }
  return rc;
}

Regex::Regex(std::string_view expression, std::string_view where)
    : code_(std::make_unique<Code>()) {
  code_->where = std::string(where);
  const std::string translated = pcre2_syntax(expression, where);
  std::unique_ptr<pcre2_compile_context, Release<pcre2_compile_context_free>> context{
      pcre2_compile_context_create(nullptr)};
  MG_CHECK(context != nullptr, "out of memory");
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  const auto* pattern = static_cast<PCRE2_SPTR>(static_cast<const void*>(translated.data()));
  code_->code.reset(pcre2_compile(pattern, translated.size(),
                                  PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                                  &error, &offset, context.get()));
  if (code_->code == nullptr) {
    throw Error({.code = "tokenizer.unsupported-regex",
                 .what = "a regular expression cannot be compiled: " + pcre2_message(error),
                 .where = std::string(where),
                 .expected = {},
                 .actual = std::string(expression),
                 .hint = {}});
  }
  code_->jit = pcre2_jit_compile(code_->code.get(), PCRE2_JIT_COMPLETE) == 0;
}

Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

void Regex::find_all(std::string_view text, RegexScratch& scratch,
                     std::vector<TextRange>& matches) const {
  RegexScratch::State& state = *scratch.state_;
  const std::string_view subject = code_->with_stand_ins(text, state.copy);
  const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(state.data.get());
  std::size_t at = 0;
  std::size_t last_end = std::string_view::npos;
  while (at <= subject.size()) {
    if (code_->match(subject, at, state.data.get(), state.context.get()) < 0) {
      return;
    }
    const TextRange match{bounds[0], bounds[1]};
    if (match.end <= match.begin && match.end == last_end) {
      at += at < subject.size() ? code_point_at(subject, at).bytes : 1;
      continue;
    }
    matches.push_back(match);
    at = match.end;
    last_end = match.end;
  }
}

}  // namespace mg
