#include "harness/io/json_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "harness/io/mapped_file.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

constexpr std::size_t kMaxDepth = 256;  // walkers of configs recurse; real ones are about 5 deep

struct Position {
  std::size_t line = 1;
  std::size_t column = 1;  // in bytes, from 1
};

Position position_of(std::string_view text, std::size_t offset) {
  const std::string_view before = text.substr(0, std::min(offset, text.size()));
  const auto lines = static_cast<std::size_t>(std::count(before.begin(), before.end(), '\n'));
  const std::size_t last = before.rfind('\n');
  return {lines + 1, before.size() - (last == std::string_view::npos ? 0 : last + 1) + 1};
}

std::string where(std::string_view file, std::string_view text, std::size_t offset) {
  const Position at = position_of(text, offset);
  return fmt::format("{}, line {}, column {}", file, at.line, at.column);
}

// The grammar of nlohmann has no NaN and Infinity.  Each such literal becomes a number of the same
// length in a spelling reserved for it, so that positions in errors stay right; a number that the
// file itself spells so is respelled first ("0E0" is "0.0").
struct Literal {
  std::string_view python;
  std::string_view stand_in;
  std::string_view respelled;
};
constexpr Literal kLiterals[] = {
    {"-Infinity", "-0E000000", "-0.000000"},
    {"Infinity", "0E000000", "0.000000"},
    {"NaN", "0E0", "0.0"},
};

bool ends_token(char c) {
  return c == ',' || c == ']' || c == '}' || c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

std::string replace_python_literals(std::string_view text) {
  std::string out(text);
  bool in_string = false;
  char before = ',';  // the byte before this one, outside strings
  for (std::size_t i = 0; i < out.size(); ++i) {
    const char c = out[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
      continue;
    }
    in_string = c == '"';
    const bool starts_token = ends_token(before) || before == ':' || before == '[';
    before = c;
    if (!starts_token) {
      continue;
    }
    for (const Literal& literal : kLiterals) {
      const std::size_t length = literal.python.size();
      const std::string_view here = std::string_view(out).substr(i, length);
      const bool whole = i + length >= out.size() || ends_token(out[i + length]);
      if (whole && (here == literal.python || here == literal.stand_in)) {
        out.replace(i, length, here == literal.python ? literal.stand_in : literal.respelled);
        break;
      }
    }
  }
  return out;
}

// Builds the document, watching for what nlohmann's own builder lets pass.
template <typename Json>
class Builder final : public nlohmann::json_sax<Json> {
 public:
  explicit Builder(std::string_view file) : file_(file) {}

  Json take() { return std::move(root_); }
  bool has_syntax_error() const { return has_syntax_error_; }
  std::size_t error_offset() const { return error_offset_; }
  const std::string& error_detail() const { return error_detail_; }

  bool null() override { return put(Json(nullptr)); }
  bool boolean(bool value) override { return put(Json(value)); }
  bool number_integer(std::int64_t value) override { return put(Json(value)); }
  bool number_unsigned(std::uint64_t value) override { return put(Json(value)); }
  bool number_float(double value, const std::string& spelling) override {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    if (spelling == kLiterals[0].stand_in) {
      return put(Json(-kInfinity));
    }
    if (spelling == kLiterals[1].stand_in) {
      return put(Json(kInfinity));
    }
    if (spelling == kLiterals[2].stand_in) {
      return put(Json(std::numeric_limits<double>::quiet_NaN()));
    }
    return put(Json(value));
  }
  bool string(std::string& value) override { return put(Json(std::move(value))); }
  bool binary(typename Json::binary_t& /*value*/) override { return false; }  // not in text

  bool start_object(std::size_t /*size*/) override { return open(Json::object()); }
  bool key(std::string& name) override {
    if (open_.back()->contains(name)) {
      throw Error({.code = "json.duplicate-key",
                   .what = fmt::format("the key \"{}\" is given twice in one object", name),
                   .where = fmt::format("{}, {}", file_, path_of(name)),
                   .expected = {},
                   .actual = {},
                   .hint = "readers differ in which of the two they take: delete one"});
    }
    keys_.back() = std::move(name);
    return true;
  }
  bool end_object() override { return close(); }
  bool start_array(std::size_t /*size*/) override { return open(Json::array()); }
  bool end_array() override { return close(); }

  bool parse_error(std::size_t offset, const std::string& /*token*/,
                   const nlohmann::detail::exception& error) override {
    has_syntax_error_ = true;
    error_offset_ = offset;
    error_detail_ = json_error_detail(error.what());
    return false;
  }

 private:
  Json* insert(Json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Json& parent = *open_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    return &(parent[keys_.back()] = std::move(value));
  }
  bool put(Json value) {
    insert(std::move(value));
    return true;
  }
  bool open(Json value) {
    if (open_.size() >= kMaxDepth) {
      throw Error({.code = "json.too-deep",
                   .what = "objects and lists are nested too deeply",
                   .where = std::string(file_),
                   .expected = fmt::format("at most {} levels", kMaxDepth),
                   .actual = {},
                   .hint = {}});
    }
    open_.push_back(insert(std::move(value)));
    keys_.emplace_back();
    return true;
  }
  bool close() {
    open_.pop_back();
    keys_.pop_back();
    return true;
  }
  std::string path_of(std::string_view name) const {
    std::string path;
    for (std::size_t i = 0; i < open_.size(); ++i) {
      if (open_[i]->is_array()) {
        path += fmt::format("[{}]", open_[i]->size() - 1);
        continue;
      }
      const std::string_view key = i + 1 == open_.size() ? name : std::string_view(keys_[i]);
      path += fmt::format("{}{}", path.empty() ? "" : ".", key);
    }
    return path;
  }

  std::string_view file_;
  Json root_;
  std::vector<Json*> open_;  // stable: a parent's container does not grow while a child is open
  std::vector<std::string> keys_;  // current key of each open object
  bool has_syntax_error_ = false;
  std::size_t error_offset_ = 0;
  std::string error_detail_;
};

[[noreturn]] void fail_syntax(std::string_view text, std::string_view file, std::size_t offset,
                              std::string detail) {
  const bool encoding = detail.find("UTF-8") != std::string::npos;
  throw Error({.code = encoding ? "json.encoding" : "json.syntax",
               .what = encoding ? "the file is not valid UTF-8" : "the file is not valid JSON",
               .where = where(file, text, offset),
               .expected = {},
               .actual = std::move(detail),
               .hint = {}});
}

}  // namespace

namespace {

template <typename Json>
Json parse(std::string_view text, std::string_view file) {
  if (text.substr(0, 3) == "\xEF\xBB\xBF") {
    throw Error(
        {.code = "json.byte-order-mark",
         .what = "the file starts with a byte order mark",
         .where = std::string(file),
         .expected = "{",
         .actual = "EF BB BF",
         .hint = "Python's json module refuses it as well: save the file as UTF-8 without BOM"});
  }
  // nlohmann takes a NUL byte for the end of the text.
  if (const std::size_t nul = text.find('\0'); nul != std::string_view::npos) {
    fail_syntax(text, file, nul, "a NUL byte");
  }
  const std::string prepared = replace_python_literals(text);
  Builder<Json> builder(file);
  if (!Json::sax_parse(prepared, &builder)) {
    const std::size_t offset = builder.error_offset();
    fail_syntax(text, file, offset == 0 ? 0 : offset - 1, builder.error_detail());
  }
  return builder.take();
}

}  // namespace

nlohmann::json parse_json(std::string_view text, std::string_view file) {
  return parse<nlohmann::json>(text, file);
}

nlohmann::ordered_json parse_ordered_json(std::string_view text, std::string_view file) {
  return parse<nlohmann::ordered_json>(text, file);
}

nlohmann::json read_json(const std::filesystem::path& path) {
  return parse_json(read_text(path), path.string());
}

std::string read_text(const std::filesystem::path& path) {
  constexpr std::size_t kMaxBytes = std::size_t{1} << 30;
  const auto file = MappedFile::open(path);
  const std::span<const std::byte> bytes = file->bytes();
  if (bytes.size() > kMaxBytes) {
    throw Error({.code = "file.too-large",
                 .what = "the text file is too large to be one",
                 .where = path.string(),
                 .expected = fmt::format("at most {} bytes", kMaxBytes),
                 .actual = fmt::format("{} bytes", bytes.size()),
                 .hint = {}});
  }
  std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  file->check_intact();
  return text;
}

namespace {

template <typename Json>
std::string_view kind_of(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return "null";
    case Json::value_t::object:
      return "an object";
    case Json::value_t::array:
      return "a list";
    case Json::value_t::string:
      return "a string";
    case Json::value_t::boolean:
      return value.template get<bool>() ? "true" : "false";
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned:
      return "an integer";
    case Json::value_t::number_float:
      return "a fraction";
    default:
      return "nothing";
  }
}

}  // namespace

std::string_view json_kind(const nlohmann::json& value) {
  return kind_of(value);
}
std::string_view json_kind(const nlohmann::ordered_json& value) {
  return kind_of(value);
}

std::string json_error_detail(std::string_view message) {
  // "[json.exception.parse_error.101] parse error at line 1, column 5: syntax error while parsing
  // ..."
  // "[json.exception.out_of_range.406] number overflow parsing '1e400'"
  const std::size_t bracket = message.find("] ");
  std::string_view detail =
      bracket == std::string_view::npos ? message : message.substr(bracket + 2);
  if (detail.starts_with("parse error")) {
    const std::size_t colon = detail.find(": ");
    detail = colon == std::string_view::npos ? detail : detail.substr(colon + 2);
  }
  constexpr std::string_view kPrefix = "syntax error ";
  if (detail.substr(0, kPrefix.size()) == kPrefix) {
    detail.remove_prefix(kPrefix.size());
  }
  return std::string(detail);
}

}  // namespace mg
