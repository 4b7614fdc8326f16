// The header's JSON.  What is accepted was found by experiment with safetensors 0.8.0 (Python and
// Rust; serde_json) and is recorded in tests/io/safetensors_corpus.jsonl: whitespace around the
// object, unknown fields in a record, a record written as [dtype, shape, offsets], dtype written as
// {"F32": null}, __metadata__: null. One deliberate difference: a name given twice is an error
// here; the reference keeps the last silently.
#include "harness/io/safetensors_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "harness/io/json_file.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

constexpr std::size_t kMaxJsonDepth = 127;  // serde_json gives up at 128 open values

// A value without its nesting; `text` is set for strings only.
struct Token {
  enum class Kind { kNull, kBool, kUnsigned, kOtherNumber, kString, kObject, kArray };
  Kind kind = Kind::kNull;
  std::uint64_t number = 0;
  std::string* text = nullptr;
  std::string spelling = {};  // of numbers that are no unsigned integer
};

std::string describe(const Token& token) {
  switch (token.kind) {
    case Token::Kind::kNull:
      return "null";
    case Token::Kind::kBool:
      return "true or false";
    case Token::Kind::kUnsigned:
      return fmt::format("the number {}", token.number);
    case Token::Kind::kOtherNumber:
      return fmt::format("the number {}", token.spelling);
    case Token::Kind::kString:
      return fmt::format("\"{}\"", *token.text);
    case Token::Kind::kObject:
      return "an object";
    case Token::Kind::kArray:
      return "a list";
  }
  return {};
}

// What the parser is inside of.
enum class Place { kHeader, kMetadata, kRecord, kRecordList, kDtype, kShape, kOffsets, kIgnored };
enum class Field { kDtype, kShape, kOffsets, kUnknown };

class HeaderReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderReader(std::string_view file) : file_(file) {}

  SafetensorsHeader take() { return std::move(header_); }

  bool null() override { return value({.kind = Token::Kind::kNull}); }
  bool boolean(bool /*value*/) override { return value({.kind = Token::Kind::kBool}); }
  // nlohmann calls this for numbers with a minus alone; the reference takes "-0" for a fraction.
  bool number_integer(std::int64_t number) override {
    return value({.kind = Token::Kind::kOtherNumber, .spelling = std::to_string(number)});
  }
  bool number_unsigned(std::uint64_t number) override {
    return value({.kind = Token::Kind::kUnsigned, .number = number});
  }
  bool number_float(double /*value*/, const std::string& spelling) override {
    return value({.kind = Token::Kind::kOtherNumber, .spelling = spelling});
  }
  bool string(std::string& text) override {
    return value({.kind = Token::Kind::kString, .text = &text});
  }
  bool binary(nlohmann::json::binary_t& /*value*/) override { return false; }  // not in text

  bool start_object(std::size_t /*size*/) override { return value({.kind = Token::Kind::kObject}); }
  bool start_array(std::size_t /*size*/) override { return value({.kind = Token::Kind::kArray}); }
  bool key(std::string& name) override;
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool parse_error(std::size_t offset, const std::string& token,
                   const nlohmann::detail::exception& error) override;

 private:
  bool value(const Token& token);
  void open(Place place);
  bool close();
  void header_value(const Token& token);
  void field_value(Field field, const Token& token);
  void finish_record();
  void finish_list();
  void number_of_list(const Token& token);
  void set_dtype(const std::string& name);

  [[noreturn]] void fail(std::string code, std::string what, std::string expected,
                         std::string actual, std::string hint) const;
  [[noreturn]] void fail_structure(std::string what, std::string expected,
                                   const Token& actual) const;

  std::string_view file_;
  SafetensorsHeader header_;
  std::vector<Place> open_;
  std::string name_;  // key of the header's current entry
  std::string metadata_key_;
  bool seen_metadata_ = false;
  SafetensorsRecord record_;  // the record being read
  Field field_ = Field::kUnknown;
  bool has_dtype_ = false;
  bool has_shape_ = false;
  bool has_offsets_ = false;
  std::size_t position_ = 0;         // in a record written as a list
  std::vector<std::uint64_t> list_;  // shape or offsets being read
  bool dtype_named_ = false;         // {"F32": null}: the key was seen
  bool dtype_closed_ = false;        // ... and its null
};

void HeaderReader::fail(std::string code, std::string what, std::string expected,
                        std::string actual, std::string hint) const {
  const bool in_entry = open_.size() >= 1 && !name_.empty();
  throw Error({.code = "safetensors." + std::move(code),
               .what = std::move(what),
               .where = in_entry ? fmt::format("{}, {}", file_, name_) : std::string(file_),
               .expected = std::move(expected),
               .actual = std::move(actual),
               .hint = std::move(hint)});
}

void HeaderReader::fail_structure(std::string what, std::string expected,
                                  const Token& actual) const {
  fail("header-structure", std::move(what), std::move(expected), describe(actual),
       "the file was not written by safetensors: export it again with save_pretrained");
}

bool HeaderReader::parse_error(std::size_t offset, const std::string& /*token*/,
                               const nlohmann::detail::exception& error) {
  const std::string detail = json_error_detail(error.what());
  const bool encoding = detail.find("UTF-8") != std::string::npos;
  throw Error({.code = encoding ? "safetensors.header-utf8" : "safetensors.header-json",
               .what = encoding ? "the header is not valid UTF-8" : "the header is not valid JSON",
               .where = fmt::format("{}, byte {}", file_, 8 + (offset == 0 ? 0 : offset - 1)),
               .expected = {},
               .actual = detail,
               .hint = "the file is damaged or no safetensors file: fetch or export it again"});
}

void HeaderReader::open(Place place) {
  if (open_.size() >= kMaxJsonDepth) {
    fail("header-structure", "the header is nested too deeply",
         fmt::format("at most {} levels", kMaxJsonDepth), {}, {});
  }
  open_.push_back(place);
}

bool HeaderReader::key(std::string& name) {
  switch (open_.back()) {
    case Place::kHeader:
      name_ = std::move(name);
      break;
    case Place::kMetadata:
      metadata_key_ = std::move(name);
      break;
    case Place::kRecord:
      field_ = name == "dtype"          ? Field::kDtype
               : name == "shape"        ? Field::kShape
               : name == "data_offsets" ? Field::kOffsets
                                        : Field::kUnknown;
      if ((field_ == Field::kDtype && has_dtype_) || (field_ == Field::kShape && has_shape_) ||
          (field_ == Field::kOffsets && has_offsets_)) {
        fail("duplicate-key", fmt::format("the tensor's {} is given twice", name), {}, {},
             "the header is damaged or was edited: export the file again");
      }
      break;
    case Place::kDtype:
      if (dtype_named_) {
        fail("header-structure", "the tensor has several dtypes", "one name", {}, {});
      }
      dtype_named_ = true;
      set_dtype(name);
      break;
    default:
      break;
  }
  return true;
}

bool HeaderReader::value(const Token& token) {
  const bool nested = token.kind == Token::Kind::kObject || token.kind == Token::Kind::kArray;
  if (open_.empty()) {
    if (token.kind != Token::Kind::kObject) {
      fail_structure("the header is not an object", "{...}", token);
    }
    open(Place::kHeader);
    return true;
  }
  switch (open_.back()) {
    case Place::kHeader:
      header_value(token);
      break;
    case Place::kMetadata:
      if (token.kind != Token::Kind::kString) {
        fail_structure(fmt::format("the metadata entry \"{}\" is no text", metadata_key_),
                       "a string", token);
      }
      if (!header_.metadata.emplace(metadata_key_, *token.text).second) {
        fail("duplicate-key",
             fmt::format("the metadata entry \"{}\" is given twice", metadata_key_), {}, {},
             "the reference reader silently keeps the last: write the header again");
      }
      break;
    case Place::kRecord:
      field_value(field_, token);
      break;
    case Place::kRecordList: {
      constexpr Field kOrder[] = {Field::kDtype, Field::kShape, Field::kOffsets};
      if (position_ >= 3) {
        fail_structure("the tensor's record is too long", "[dtype, shape, data_offsets]", token);
      }
      field_value(kOrder[position_++], token);
      break;
    }
    case Place::kDtype:
      if (token.kind != Token::Kind::kNull) {
        fail_structure("the tensor's dtype is not a name", "a string", token);
      }
      dtype_closed_ = true;
      break;
    case Place::kShape:
    case Place::kOffsets:
      number_of_list(token);
      break;
    case Place::kIgnored:
      if (nested) {
        open(Place::kIgnored);
      }
      break;
  }
  return true;
}

void HeaderReader::header_value(const Token& token) {
  if (name_ == "__metadata__") {
    if (std::exchange(seen_metadata_, true)) {
      fail("duplicate-key", "__metadata__ is given twice", {}, {},
           "the header is damaged or was edited: export the file again");
    }
    if (token.kind == Token::Kind::kNull) {
      return;
    }
    if (token.kind != Token::Kind::kObject) {
      fail_structure("__metadata__ is not an object", "an object of strings", token);
    }
    header_.has_metadata = true;
    open(Place::kMetadata);
    return;
  }
  if (token.kind != Token::Kind::kObject && token.kind != Token::Kind::kArray) {
    fail_structure("the tensor's record is not an object",
                   "{\"dtype\": ..., \"shape\": ..., \"data_offsets\": ...}", token);
  }
  record_ = SafetensorsRecord{};
  record_.name = name_;
  has_dtype_ = has_shape_ = has_offsets_ = false;
  position_ = 0;
  open(token.kind == Token::Kind::kObject ? Place::kRecord : Place::kRecordList);
}

void HeaderReader::field_value(Field field, const Token& token) {
  switch (field) {
    case Field::kDtype:
      has_dtype_ = true;
      if (token.kind == Token::Kind::kString) {
        set_dtype(*token.text);
      } else if (token.kind == Token::Kind::kObject) {
        dtype_named_ = dtype_closed_ = false;
        open(Place::kDtype);
      } else {
        fail_structure("the tensor's dtype is not a name", "a string", token);
      }
      break;
    case Field::kShape:
    case Field::kOffsets:
      if (token.kind != Token::Kind::kArray) {
        fail_structure(field == Field::kShape ? "the tensor's shape is not a list"
                                              : "the tensor's data_offsets are not a pair",
                       "a list of non-negative integers", token);
      }
      (field == Field::kShape ? has_shape_ : has_offsets_) = true;
      list_.clear();
      open(field == Field::kShape ? Place::kShape : Place::kOffsets);
      break;
    case Field::kUnknown:
      // The reference skips unknown fields; their JSON must be well formed all the same.
      if (token.kind == Token::Kind::kObject || token.kind == Token::Kind::kArray) {
        open(Place::kIgnored);
      }
      break;
  }
}

void HeaderReader::set_dtype(const std::string& name) {
  const std::optional<DType> dtype = dtype_from_name(name);
  if (!dtype) {
    fail("unknown-dtype", "the format has no such dtype", "BF16, F16, F32, U8, ... (in capitals)",
         fmt::format("\"{}\"", name), {});
  }
  record_.dtype = *dtype;
}

void HeaderReader::number_of_list(const Token& token) {
  const bool shape = open_.back() == Place::kShape;
  if (token.kind != Token::Kind::kUnsigned) {
    fail_structure(shape ? "a dimension is not a non-negative integer"
                         : "an offset is not a non-negative integer",
                   "an integer from 0 to 2^64-1", token);
  }
  // Only a tensor without elements can have such a dimension; the reference reads it, Shape cannot
  // hold it.
  if (shape &&
      token.number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    fail("dimension", "a dimension is larger than any tensor", "at most 2^63-1",
         fmt::format("{}", token.number), {});
  }
  if (!shape && list_.size() >= 2) {
    fail_structure("the tensor's data_offsets have more than two entries", "[begin, end]", token);
  }
  list_.push_back(token.number);
}

bool HeaderReader::close() {
  const Place place = open_.back();
  switch (place) {
    case Place::kShape:
    case Place::kOffsets:
      finish_list();
      break;
    case Place::kDtype:
      if (!dtype_closed_) {
        fail("header-structure", "the tensor's dtype is empty", "a string", "{}", {});
      }
      break;
    case Place::kRecord:
    case Place::kRecordList:
      finish_record();
      break;
    default:
      break;
  }
  open_.pop_back();
  return true;
}

void HeaderReader::finish_list() {
  if (open_.back() == Place::kShape) {
    for (const std::uint64_t dim : list_) {
      record_.shape.push_back(static_cast<std::int64_t>(dim));
    }
    return;
  }
  if (list_.size() != 2) {
    fail("header-structure", "the tensor's data_offsets are not a pair", "[begin, end]",
         fmt::format("{} entries", list_.size()), {});
  }
  record_.begin = list_[0];
  record_.end = list_[1];
}

void HeaderReader::finish_record() {
  if (!has_dtype_ || !has_shape_ || !has_offsets_) {
    const std::string_view missing = !has_dtype_ ? "dtype" : !has_shape_ ? "shape" : "data_offsets";
    fail("header-structure", fmt::format("the tensor has no {}", missing),
         "dtype, shape and data_offsets", {},
         "the file was not written by safetensors: export it again with save_pretrained");
  }
  header_.records.push_back(std::move(record_));
}

void refuse_duplicates(const SafetensorsHeader& header, std::string_view file) {
  std::vector<std::string_view> names;
  names.reserve(header.records.size());
  for (const SafetensorsRecord& record : header.records) {
    names.push_back(record.name);
  }
  std::sort(names.begin(), names.end());
  const auto twin = std::adjacent_find(names.begin(), names.end());
  if (twin != names.end()) {
    throw Error({.code = "safetensors.duplicate-key",
                 .what = "the header names a tensor twice",
                 .where = fmt::format("{}, {}", file, *twin),
                 .expected = {},
                 .actual = {},
                 .hint = "the reference reader silently keeps the last: export the file again"});
  }
}

}  // namespace

SafetensorsHeader parse_header_json(std::string_view text, std::string_view file) {
  // What nlohmann would let pass and serde_json does not: a byte order mark, and a NUL taken for
  // the end.
  const std::size_t nul = text.find('\0');
  const bool mark = text.substr(0, 3) == "\xEF\xBB\xBF";
  if (mark || nul != std::string_view::npos) {
    throw Error({.code = "safetensors.header-json",
                 .what = "the header is not valid JSON",
                 .where = fmt::format("{}, byte {}", file, 8 + (mark ? 0 : nul)),
                 .expected = {},
                 .actual = mark ? "a byte order mark" : "a NUL byte",
                 .hint = "the file is damaged or no safetensors file: fetch or export it again"});
  }
  HeaderReader reader(file);
  const bool parsed = nlohmann::json::sax_parse(text, &reader);
  MG_CHECK(parsed, "every refusal of the header throws");
  SafetensorsHeader header = reader.take();
  refuse_duplicates(header, file);
  return header;
}

}  // namespace mg
