#include "harness/io/chat_template/jinja_json.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "harness/io/chat_template/jinja_interpreter.h"
#include "harness/io/chat_template/jinja_text.h"
#include "harness/io/tokenizer/unicode.h"
#include "kernels/core/error.h"

namespace mg::jinja {
namespace {

constexpr int kMaxNesting = 300;

void append_escape(std::string& out, char32_t unit) {
  static constexpr std::string_view kHex = "0123456789abcdef";
  out += "\\u";
  for (unsigned shift = 12;; shift -= 4) {
    out.push_back(kHex[(unit >> shift) & 15U]);
    if (shift == 0) {
      return;
    }
  }
}

std::string quoted(std::string_view text, bool ascii) {
  std::string out = "\"";
  for (const char32_t c : code_points(text)) {
    switch (c) {
      case U'"':
        out += "\\\"";
        break;
      case U'\\':
        out += "\\\\";
        break;
      case U'\n':
        out += "\\n";
        break;
      case U'\r':
        out += "\\r";
        break;
      case U'\t':
        out += "\\t";
        break;
      case U'\f':
        out += "\\f";
        break;
      case U'\b':
        out += "\\b";
        break;
      default:
        if (c < 0x20 || (ascii && c >= 0x7F && c < 0x10000)) {
          append_escape(out, c);
        } else if (ascii && c >= 0x10000) {
          append_escape(out, 0xD800 + ((c - 0x10000) >> 10U));
          append_escape(out, 0xDC00 + ((c - 0x10000) & 0x3FFU));
        } else {
          append_utf8(out, c);
        }
    }
  }
  return out.append("\"");
}

class Writer {
 public:
  Writer(Interpreter& run, const JsonStyle& style) : run_(run), style_(style) {}

  void write(const Value& value, int depth) {
    run_.tick();
    if (depth > kMaxNesting) {
      run_.fail("chat_template.limit", "a value is nested too deeply for JSON");
    }
    if (const List* list = as_list(value)) {
      write_list(*list, depth);
    } else if (const Dict* dict = as_dict(value)) {
      write_dict(*dict, depth);
    } else if (const Text* text = as_text(value)) {
      append(quoted(text->text, style_.ascii));
    } else {
      append(scalar(value));
    }
  }

  std::string take() { return std::move(out_); }

 private:
  void append(std::string_view text) {
    run_.heap().charge(text.size());
    out_ += text;
  }
  void new_line(int depth) {
    if (style_.indented) {
      out_ += '\n';
      for (int i = 0; i < depth; ++i) {
        append(style_.indent);
      }
    }
  }

  std::string scalar(const Value& value) {
    if (is_none(value)) {
      return "null";
    }
    if (const auto* flag = std::get_if<bool>(&value)) {
      return *flag ? "true" : "false";
    }
    if (const auto integer = as_integer(value)) {
      return std::to_string(*integer);
    }
    if (const auto* number = std::get_if<double>(&value)) {
      return std::isnan(*number)   ? "NaN"
             : std::isinf(*number) ? (*number > 0 ? "Infinity" : "-Infinity")
                                   : python_float(*number);
    }
    run_.fail_type("Object of type " + std::string(type_name(value)) + " is not JSON serializable");
  }

  void write_list(const List& list, int depth) {
    if (list.items.empty()) {
      append("[]");
      return;
    }
    out_ += '[';
    for (std::size_t i = 0; i < list.items.size(); ++i) {
      append(i > 0 ? style_.item_separator : "");
      new_line(depth + 1);
      write(list.items[i], depth + 1);
    }
    new_line(depth);
    out_ += ']';
  }

  void write_dict(const Dict& dict, int depth) {
    if (dict.items.empty()) {
      append("{}");
      return;
    }
    auto items = dict.items;
    if (style_.sorted) {
      std::stable_sort(items.begin(), items.end(), [this](const auto& a, const auto& b) {
        return run_.less(a.first, b.first);
      });
    }
    out_ += '{';
    for (std::size_t i = 0; i < items.size(); ++i) {
      append(i > 0 ? style_.item_separator : "");
      new_line(depth + 1);
      const Text* name = as_text(items[i].first);
      if (name == nullptr && as_list(items[i].first) != nullptr) {
        run_.fail_type("keys must be str, int, float, bool or None, not tuple");
      }
      append(quoted(name != nullptr ? name->text : scalar(items[i].first), style_.ascii));
      append(style_.key_separator);
      write(items[i].second, depth + 1);
    }
    new_line(depth);
    out_ += '}';
  }

  Interpreter& run_;
  const JsonStyle& style_;
  std::string out_;
};

}  // namespace

Value from_json(Heap& heap, const nlohmann::ordered_json& json) {
  using Kind = nlohmann::ordered_json::value_t;
  switch (json.type()) {
    case Kind::boolean:
      return json.get<bool>();
    case Kind::number_integer:
      return json.get<std::int64_t>();
    case Kind::number_unsigned:
      if (json.get<std::uint64_t>() > 0x7FFFFFFFFFFFFFFFULL) {
        throw Error({.code = "chat_template.integer",
                     .what = "an integer needs more than 64 bits",
                     .where = {},
                     .expected = {},
                     .actual = json.dump(),
                     .hint = {}});
      }
      return json.get<std::int64_t>();
    case Kind::number_float:
      return json.get<double>();
    case Kind::string:
      return heap.text(json.get<std::string>());
    case Kind::array: {
      Values items;
      for (const auto& item : json) {
        items.push_back(from_json(heap, item));
      }
      return heap.list(std::move(items));
    }
    case Kind::object: {
      Dict* dict = heap.dict();
      for (const auto& [key, item] : json.items()) {
        heap.charge(sizeof(Value) * 4);
        dict->set(heap.text(key), from_json(heap, item));
      }
      return dict;
    }
    default:
      return None{};
  }
}

std::string to_json(Interpreter& run, const Value& value, const JsonStyle& style) {
  Writer writer(run, style);
  writer.write(value, 0);
  return writer.take();
}

}  // namespace mg::jinja
