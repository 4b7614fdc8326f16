#include "suites/schema.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "suites/json_schema.h"
#include "suites/text_match.h"

namespace mg {
namespace {

using Json = nlohmann::ordered_json;  // templates write tools and arguments in their order

constexpr std::array<std::string_view, 15> kKeys{"id",
                                                 "input_ids",
                                                 "text",
                                                 "messages",
                                                 "tools",
                                                 "chat_template_kwargs",
                                                 "now",
                                                 "tags",
                                                 "spans",
                                                 "pixel_values",
                                                 "image_grid_thw",
                                                 "pixel_values_videos",
                                                 "video_grid_thw",
                                                 "second_per_grid_ts",
                                                 "expect"};
constexpr std::string_view kCompletion = "completion";

/// Shortened text of a value for a message.
std::string shown(const Json& value) {
  constexpr std::size_t kMost = 60;
  std::string text = value.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
  if (text.size() > kMost) {
    text.resize(kMost);
    // A cut may split a UTF-8 sequence: drop its remains.
    while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0xC0U) == 0x80U) {
      text.pop_back();
    }
    if (!text.empty() && (static_cast<unsigned char>(text.back()) & 0x80U) != 0) {
      text.pop_back();
    }
    text += "...";
  }
  return text;
}

/// A whole number from 0 to 2^31 - 1.
std::optional<std::int64_t> small_number(const Json& value) {
  constexpr auto kLargest = static_cast<std::uint64_t>(std::numeric_limits<std::int32_t>::max());
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() > kLargest) {
    return std::nullopt;
  }
  return value.get<std::int64_t>();
}

std::optional<std::vector<std::int32_t>> token_ids(const Json& value) {
  if (!value.is_array() || value.empty()) {
    return std::nullopt;
  }
  std::vector<std::int32_t> ids;
  ids.reserve(value.size());
  for (const Json& element : value) {
    const auto id = small_number(element);
    if (!id) {
      return std::nullopt;
    }
    ids.push_back(static_cast<std::int32_t>(*id));
  }
  return ids;
}

class LineParser {
 public:
  LineParser(std::int64_t line, const std::filesystem::path& folder,
             std::vector<SchemaProblem>& problems)
      : line_(line), folder_(folder), problems_(problems) {}

  std::optional<SuitePrompt> parse(std::string_view text) {
    const std::size_t before = problems_.size();
    const auto object = parse_json(text);
    if (!object) {
      return std::nullopt;
    }
    prompt_.line = line_;
    check_keys(*object);
    read_id(*object);
    read_content(*object);
    read_completion(*object);
    read_tags(*object);
    read_spans(*object);
    read_image(*object);
    read_expect(*object);
    if (problems_.size() != before) {
      return std::nullopt;
    }
    return std::move(prompt_);
  }

 private:
  void problem(std::string code, std::string what, std::string expected, std::string actual,
               std::string hint = "") {
    problems_.push_back({std::move(code), line_, std::move(what), std::move(expected),
                         std::move(actual), std::move(hint)});
  }

  void wrong_type(std::string_view key, std::string_view expected, const Json& value) {
    problem("wrong-type", fmt::format("\"{}\" is not what a suite holds there", key),
            std::string(expected), shown(value));
  }

  std::optional<Json> parse_json(std::string_view text) {
    std::vector<std::set<std::string>> open;  // keys seen in each open object
    std::string repeated;
    const Json::parser_callback_t watch = [&](int /*depth*/, Json::parse_event_t event,
                                              Json& parsed) {
      if (event == Json::parse_event_t::object_start) {
        open.emplace_back();
      } else if (event == Json::parse_event_t::object_end) {
        open.pop_back();
      } else if (event == Json::parse_event_t::key &&
                 !open.back().insert(parsed.get<std::string>()).second && repeated.empty()) {
        repeated = parsed.get<std::string>();
      }
      return true;
    };
    try {
      Json value = Json::parse(text, watch);
      if (!value.is_object()) {
        problem("json", "a line is not a JSON object", "{\"id\": ..., \"input_ids\": [...]}",
                shown(value));
        return std::nullopt;
      }
      if (!repeated.empty()) {
        problem("json", "a line repeats a key", "each key once",
                fmt::format("\"{}\" twice", repeated));
        return std::nullopt;
      }
      return value;
    } catch (const Json::parse_error& error) {
      problem("json", "a line is not valid JSON", "one JSON object a line",
              fmt::format("an error at byte {} of the line", error.byte),
              "a prompt must stand on one line; line breaks inside a text are written \\n");
      return std::nullopt;
    }
  }

  void check_keys(const Json& object) {
    for (const auto& [key, value] : object.items()) {
      if (key != kCompletion && std::find(kKeys.begin(), kKeys.end(), key) == kKeys.end()) {
        problem("unknown-key", "a prompt has a key that suites do not have",
                fmt::format("{}, {}", fmt::join(kKeys, ", "), kCompletion),
                fmt::format("\"{}\"", key));
      }
    }
  }

  void read_id(const Json& object) {
    const auto found = object.find("id");
    if (found == object.end()) {
      problem("missing-key", "a prompt has no id", "\"id\": a name unique in the suite",
              "no \"id\"");
    } else if (!found->is_string() || found->get_ref<const std::string&>().empty()) {
      wrong_type("id", "a string that is not empty", *found);
    } else {
      prompt_.id = found->get<std::string>();
    }
  }

  void read_content(const Json& object) {
    std::vector<std::string_view> given;
    for (const std::string_view key : {"input_ids", "text", "messages"}) {
      if (object.contains(key)) {
        given.push_back(key);
      }
    }
    if (given.size() != 1) {
      problem("missing-key", "a prompt needs one source of tokens",
              "one of input_ids, text, messages",
              given.empty() ? "none" : fmt::format("{}", fmt::join(given, ", ")));
      return;
    }
    const Json& value = object.at(given.front());
    if (given.front() == "input_ids") {
      if (const auto ids = token_ids(value)) {
        prompt_.input_ids = *ids;
      } else {
        wrong_type("input_ids", "a list, not empty, of whole numbers from 0 to 2147483647", value);
      }
    } else if (given.front() == "text") {
      if (value.is_string()) {
        prompt_.text = value.get<std::string>();
      } else {
        wrong_type("text", "a string", value);
      }
    } else if (value.is_array() && !value.empty()) {
      prompt_.messages = value.dump();
      read_images(value);
    } else {
      wrong_type("messages", "a list of messages that is not empty", value);
    }
    read_template_inputs(object);
  }

  /// The parts of messages that are images: {"type": "image", "image": "cat.png"}.
  void read_images(const Json& messages) {
    for (const Json& message : messages) {
      const auto content = message.is_object() ? message.find("content") : message.end();
      if (!message.is_object() || content == message.end() || !content->is_array()) {
        continue;
      }
      for (const Json& part : *content) {
        const auto type = part.is_object() ? part.find("type") : part.end();
        if (part.is_object() && type != part.end() && (*type == "image" || *type == "video")) {
          read_image_part(part, type->get<std::string>());
        }
      }
    }
  }

  void read_image_part(const Json& part, const std::string& type) {
    // transformers' chats call a file "path" as well.
    const auto named = part.contains("image") ? part.find("image") : part.find("path");
    if (named == part.end() || type == "video") {
      given_elsewhere_.insert(type);
      return;
    }
    const bool file = named->is_string() && !named->get_ref<const std::string&>().empty() &&
                      named->get_ref<const std::string&>().find("://") == std::string::npos &&
                      !named->get_ref<const std::string&>().starts_with("data:");
    if (!file) {
      wrong_type("messages", "an image's file, PNG or JPEG", part);
      return;
    }
    const auto name = named->get<std::string>();
    prompt_.images.push_back({.name = name, .file = folder_ / name});
  }

  /// The value of a key that only stands beside messages; null where it is absent or misplaced.
  const Json* beside_messages(const Json& object, std::string_view key) {
    const auto found = object.find(key);
    if (found == object.end()) {
      return nullptr;
    }
    if (!object.contains("messages")) {
      problem("missing-key", fmt::format("\"{}\" stands without messages", key),
              fmt::format("\"messages\" beside \"{}\"", key), "no \"messages\"");
      return nullptr;
    }
    return &*found;
  }

  void read_template_inputs(const Json& object) {
    if (const Json* tools = beside_messages(object, "tools")) {
      if (tools->is_array()) {
        prompt_.tools = tools->dump();
      } else {
        wrong_type("tools", "a list", *tools);
      }
    }
    if (const Json* variables = beside_messages(object, "chat_template_kwargs")) {
      if (variables->is_object()) {
        prompt_.template_variables = variables->dump();
      } else {
        wrong_type("chat_template_kwargs", "an object: variables of the template", *variables);
      }
    }
    if (const Json* now = beside_messages(object, "now")) {
      if (now->is_string()) {
        prompt_.now = now->get<std::string>();
      } else {
        wrong_type("now", "a time, \"2024-07-26\" or \"2024-07-26T12:30:00\"", *now);
      }
    }
  }

  void read_completion(const Json& object) {
    const auto found = object.find(kCompletion);
    if (found == object.end()) {
      return;
    }
    if (prompt_.input_ids.empty()) {
      if (object.contains("input_ids")) {
        return;  // already reported
      }
      problem("missing-key", "\"completion\" is given in tokens, so the prompt must be too",
              "\"input_ids\" beside \"completion\"", "no \"input_ids\"");
      return;
    }
    const std::int64_t length = prompt_.tokens();
    if (const auto ids = token_ids(*found)) {
      prompt_.scored_begin = length;
      prompt_.input_ids.insert(prompt_.input_ids.end(), ids->begin(), ids->end());
    } else if (const auto begin = small_number(*found)) {
      if (*begin < 1 || *begin >= length) {
        problem("out-of-prompt", "\"completion\" does not begin inside the prompt",
                length > 1 ? fmt::format("an index from 1 to {}", length - 1)
                           : "a list of ids: the prompt has one token",
                fmt::format("{}", *begin),
                "the first token has no prediction, so a completion begins at index 1 or later");
      } else {
        prompt_.scored_begin = *begin;
      }
    } else {
      wrong_type(kCompletion, "the index of its first token in input_ids, or its ids", *found);
    }
  }

  void read_tags(const Json& object) {
    const auto found = object.find("tags");
    if (found == object.end()) {
      return;
    }
    const bool strings =
        found->is_array() && std::all_of(found->begin(), found->end(), [](auto& tag) {
          return tag.is_string() && !tag.template get_ref<const std::string&>().empty();
        });
    if (!strings) {
      wrong_type("tags", "a list of strings that are not empty", *found);
      return;
    }
    for (const Json& tag : *found) {
      auto name = tag.get<std::string>();
      if (std::find(prompt_.tags.begin(), prompt_.tags.end(), name) == prompt_.tags.end()) {
        prompt_.tags.push_back(std::move(name));
      }
    }
  }

  void read_spans(const Json& object) {
    const auto found = object.find("spans");
    if (found == object.end()) {
      return;
    }
    if (!found->is_array()) {
      wrong_type("spans", "a list of {\"name\", \"begin\", \"end\"}", *found);
      return;
    }
    if (prompt_.input_ids.empty()) {
      if (!object.contains("input_ids")) {
        problem("missing-key", "\"spans\" are given in tokens, so the prompt must be too",
                "\"input_ids\" beside \"spans\"", "no \"input_ids\"");
      }
      return;
    }
    for (const Json& span : *found) {
      read_span(span);
    }
  }

  void read_span(const Json& span) {
    const bool keys = span.is_object() && span.size() == 3 && span.contains("name") &&
                      span.contains("begin") && span.contains("end");
    const auto begin = keys ? small_number(span.at("begin")) : std::nullopt;
    const auto end = keys ? small_number(span.at("end")) : std::nullopt;
    if (!begin || !end || !span.at("name").is_string() ||
        span.at("name").get_ref<const std::string&>().empty()) {
      wrong_type("spans", "{\"name\": a string, \"begin\": an index, \"end\": an index}", span);
      return;
    }
    if (!(*begin < *end && *end <= prompt_.tokens())) {
      problem("out-of-prompt",
              fmt::format("the span \"{}\" does not lie inside the prompt",
                          span.at("name").get<std::string>()),
              fmt::format("0 <= begin < end <= {}", prompt_.tokens()),
              fmt::format("begin {}, end {}", *begin, *end));
      return;
    }
    prompt_.spans.push_back({span.at("name").get<std::string>(), {*begin, *end}});
  }

  void read_image(const Json& object) {
    read_pictures(object, "an image", "image_grid_thw", "pixel_values", prompt_.image_grid_thw,
                  prompt_.pixel_values);
    read_pictures(object, "a video", "video_grid_thw", "pixel_values_videos",
                  prompt_.video_grid_thw, prompt_.pixel_values_videos);
    const bool images = given_elsewhere_.contains("image");
    const bool videos = given_elsewhere_.contains("video");
    if ((images && prompt_.image_grid_thw.empty()) || (videos && prompt_.video_grid_thw.empty())) {
      problem("missing-key",
              fmt::format("a part of a message is {} that is given nowhere",
                          images ? "an image" : "a video"),
              images ? "\"image\": a file, or image_grid_thw and pixel_values beside messages"
                     : "video_grid_thw and pixel_values_videos beside messages",
              "none");
      return;
    }
    if (!prompt_.images.empty() && (images || !prompt_.image_grid_thw.empty())) {
      problem("missing-key", "a prompt's images are given in two ways",
              "files in messages, or image_grid_thw and pixel_values", "both");
      return;
    }
    const auto seconds = object.find("second_per_grid_ts");
    if (seconds == object.end()) {
      return;
    }
    if (!seconds->is_array() || seconds->size() != prompt_.video_grid_thw.size() ||
        !std::all_of(seconds->begin(), seconds->end(), [](const Json& each) {
          return each.is_number() && each.get<double>() > 0 && each.get<double>() < 1e6;
        })) {
      wrong_type("second_per_grid_ts", "a positive number for each video", *seconds);
      return;
    }
    prompt_.second_per_grid_ts = seconds->get<std::vector<double>>();
  }

  void read_pictures(const Json& object, std::string_view kind, std::string_view grid_key,
                     std::string_view pixel_key, std::vector<std::array<std::int64_t, 3>>& grids,
                     std::optional<PixelValuesRef>& pixels) {
    const bool has_grid = object.contains(grid_key);
    const bool has_pixels = object.contains(pixel_key);
    if (has_grid != has_pixels) {
      problem("missing-key",
              fmt::format("a prompt with {}s needs both keys of {}",
                          kind.substr(kind.find(' ') + 1), kind),
              fmt::format("{} and {}", pixel_key, grid_key),
              std::string(has_grid ? grid_key : pixel_key));
      return;
    }
    if (has_grid) {
      read_grid(grid_key, object.at(grid_key), grids);
      read_pixels(pixel_key, object.at(pixel_key), pixels);
    }
  }

  void read_grid(std::string_view key, const Json& value,
                 std::vector<std::array<std::int64_t, 3>>& grids) {
    bool good = value.is_array() && !value.empty();
    for (std::size_t i = 0; good && i < value.size(); ++i) {
      std::array<std::int64_t, 3> grid{};
      good = value[i].is_array() && value[i].size() == 3;
      for (std::size_t k = 0; good && k < 3; ++k) {
        grid[k] = small_number(value[i][k]).value_or(0);
        good = grid[k] > 0;
      }
      grids.push_back(grid);
    }
    if (!good) {
      wrong_type(key, "a list of [time, height, width], each 1 or more", value);
    }
  }

  void read_pixels(std::string_view key, const Json& value, std::optional<PixelValuesRef>& pixels) {
    const auto is_name = [&](const char* name) {
      return value.contains(name) && value.at(name).is_string() &&
             !value.at(name).get_ref<const std::string&>().empty();
    };
    if (!value.is_object() || value.size() != 2 || !is_name("file") || !is_name("tensor")) {
      wrong_type(key, "{\"file\": a safetensors file, \"tensor\": a name in it}", value);
      return;
    }
    pixels = PixelValuesRef{folder_ / value.at("file").get<std::string>(),
                            value.at("tensor").get<std::string>()};
  }

  void read_expect(const Json& object) {
    const auto found = object.find("expect");
    if (found == object.end()) {
      return;
    }
    if (!found->is_object() || found->empty()) {
      wrong_type("expect",
                 "{\"exact\", \"contains\", \"regex\", \"json_schema\", \"number\"}: any of them",
                 *found);
      return;
    }
    Expectation expectation;
    for (const auto& [key, value] : found->items()) {
      if (!read_expected(key, value, expectation)) {
        return;
      }
    }
    if (found->contains("tolerance") && !expectation.number) {
      problem("missing-key", "\"tolerance\" stands without a number",
              "\"number\" beside \"tolerance\"", "no \"number\"");
      return;
    }
    prompt_.expect = std::move(expectation);
  }

  /// One part of "expect"; false after adding a problem.
  bool read_expected(const std::string& key, const Json& value, Expectation& expectation) {
    const auto wrong = [&](std::string_view expected) {
      wrong_type("expect." + key, expected, value);
      return false;
    };
    if (key == "exact" || key == "regex") {
      if (!value.is_string()) {
        return wrong("a string");
      }
      (key == "exact" ? expectation.exact : expectation.regex) = value.get<std::string>();
      const auto fault = key == "regex" ? regex_fault(*expectation.regex) : std::nullopt;
      return !fault || wrong("a regular expression (" + *fault + ")");
    }
    if (key == "contains") {
      const Json list = value.is_array() ? value : Json::array({value});
      for (const Json& part : list) {
        if (!part.is_string() || part.get_ref<const std::string&>().empty()) {
          return wrong("a string that is not empty, or a list of such strings");
        }
        expectation.contains.push_back(part.get<std::string>());
      }
      return !list.empty() || wrong("a string that is not empty, or a list of such strings");
    }
    if (key == "json_schema") {
      if (const auto fault = schema_fault(value)) {
        return wrong("a schema that is understood (" + *fault + ")");
      }
      expectation.json_schema = value.dump();
      return true;
    }
    if (key == "number" || key == "tolerance") {
      if (!value.is_number() || (key == "tolerance" && !(value.get<double>() >= 0))) {
        return wrong(key == "number" ? "a number" : "a number, 0 or more");
      }
      if (key == "number") {
        expectation.number = value.get<double>();
      } else {
        expectation.tolerance = value.get<double>();
      }
      return true;
    }
    problem("unknown-key", "\"expect\" has a key that suites do not have",
            "exact, contains, regex, json_schema, number, tolerance", fmt::format("\"{}\"", key));
    return false;
  }

  std::int64_t line_;
  const std::filesystem::path& folder_;
  std::vector<SchemaProblem>& problems_;
  std::set<std::string> given_elsewhere_;  // kinds of parts without a file: "image", "video"
  SuitePrompt prompt_;
};

}  // namespace

std::optional<SuitePrompt> parse_prompt(std::string_view line_text, std::int64_t line,
                                        const std::filesystem::path& folder,
                                        std::vector<SchemaProblem>& problems) {
  return LineParser(line, folder, problems).parse(line_text);
}

}  // namespace mg
