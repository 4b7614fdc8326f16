#include "harness/lint/json_edit.h"

#include <fmt/format.h>

#include <cctype>

#include "harness/io/json_file.h"
#include "kernels/core/error.h"

namespace mg::lint {
namespace {

/// Walks text that is known to be valid JSON.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  struct Member {
    std::size_t key_begin = 0;  // at the quote of its key
    std::size_t value_begin = 0;
    std::size_t value_end = 0;
  };
  struct Object {
    std::size_t open = 0;   // at {
    std::size_t close = 0;  // at }
    std::vector<Member> members;
    std::optional<std::size_t> wanted;  // index of the member asked for
  };

  /// The object that starts at or after `at`, with the place of `key`.
  Object object(std::size_t at, std::string_view key) {
    at_ = at;
    space();
    Object found;
    found.open = at_++;
    for (space(); text_[at_] != '}'; space()) {
      Member member;
      member.key_begin = at_;
      const std::string name = string();
      space();
      ++at_;  // :
      space();
      member.value_begin = at_;
      skip_value();
      member.value_end = at_;
      if (name == key) {
        found.wanted = found.members.size();
      }
      found.members.push_back(member);
      space();
      if (text_[at_] == ',') {
        ++at_;
      }
    }
    found.close = at_;
    return found;
  }

 private:
  void space() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_])) != 0) {
      ++at_;
    }
  }

  std::string string() {
    const std::size_t begin = at_++;
    while (text_[at_] != '"') {
      at_ += text_[at_] == '\\' ? 2 : 1;
    }
    ++at_;
    return nlohmann::json::parse(text_.substr(begin, at_ - begin)).get<std::string>();
  }

  void skip_value() {
    int depth = 0;
    do {
      const char c = text_[at_];
      if (c == '"') {
        string();
      } else if (c == '{' || c == '[') {
        ++depth;
        ++at_;
      } else if (c == '}' || c == ']') {
        --depth;
        ++at_;
      } else if (depth == 0 && c != ',' && std::isspace(static_cast<unsigned char>(c)) == 0) {
        while (at_ < text_.size() &&
               std::string_view(",]} \t\r\n").find(text_[at_]) == std::string_view::npos) {
          ++at_;  // a number or a literal
        }
      } else {
        ++at_;
      }
    } while (depth > 0);
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

/// The white space before the first member: a line break and its indentation, or nothing.
std::string separator(std::string_view text, const Scanner::Object& object) {
  const std::size_t end =
      object.members.empty() ? object.open + 1 : object.members.front().key_begin;
  return std::string(text.substr(object.open + 1, end - object.open - 1));
}

std::string erased(std::string_view text, const Scanner::Object& object, std::size_t index) {
  // With a member after it, what goes is up to that one's key; else from the end of the one before.
  std::size_t begin = object.members[index].key_begin;
  std::size_t end = object.members[index].value_end;
  if (index + 1 < object.members.size()) {
    end = object.members[index + 1].key_begin;
  } else if (index > 0) {
    begin = object.members[index - 1].value_end;
  }
  return std::string(text.substr(0, begin)) + std::string(text.substr(end));
}

std::string inserted(std::string_view text, const Scanner::Object& object, const std::string& key,
                     const std::string& value) {
  const std::string space = separator(text, object);
  const std::string member = fmt::format("{}: {}", nlohmann::json(key).dump(), value);
  if (object.members.empty()) {
    return std::string(text.substr(0, object.open + 1)) + member +
           std::string(text.substr(object.open + 1));
  }
  const std::size_t at = object.members.back().value_end;
  return std::string(text.substr(0, at)) + "," + (space.empty() ? " " : space) + member +
         std::string(text.substr(at));
}

std::string changed(std::string_view text, const std::vector<std::string>& path,
                    const std::optional<nlohmann::json>& value) {
  Scanner scanner(text);
  std::size_t at = 0;
  for (std::size_t i = 0; i + 1 < path.size(); ++i) {
    const Scanner::Object object = scanner.object(at, path[i]);
    if (!object.wanted || text[object.members[*object.wanted].value_begin] != '{') {
      return std::string(text);
    }
    at = object.members[*object.wanted].value_begin;
  }
  const Scanner::Object object = scanner.object(at, path.back());
  if (!value) {
    return object.wanted ? erased(text, object, *object.wanted) : std::string(text);
  }
  if (!object.wanted) {
    return inserted(text, object, path.back(), value->dump());
  }
  const Scanner::Member& member = object.members[*object.wanted];
  return std::string(text.substr(0, member.value_begin)) + value->dump() +
         std::string(text.substr(member.value_end));
}

}  // namespace

std::string edit_json(std::string_view text, const std::vector<std::string>& path,
                      const std::optional<nlohmann::json>& value, std::string_view file) {
  MG_CHECK(!path.empty(), "an edit of nothing");
  const nlohmann::json before = parse_json(text, file);
  if (!before.is_object()) {
    return std::string(text);
  }
  std::string result = changed(text, path, value);
  nlohmann::json wanted = before;
  nlohmann::json* object = &wanted;
  for (std::size_t i = 0; i + 1 < path.size() && object != nullptr; ++i) {
    const auto it = object->find(path[i]);
    object = it == object->end() || !it->is_object() ? nullptr : &*it;
  }
  if (object != nullptr) {
    object->erase(path.back());
    if (value) {
      (*object)[path.back()] = *value;
    }
  }
  // As text: NaN, which Python writes, is unequal to itself.
  MG_CHECK(parse_json(result, file).dump() == wanted.dump(),
           fmt::format("the edit of {} changed something else", file));
  return result;
}

}  // namespace mg::lint
