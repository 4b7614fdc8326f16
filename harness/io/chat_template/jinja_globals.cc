// Functions every template finds: Jinja's range, dict, namespace, cycler, joiner, and transformers'
// raise_exception and strftime_now.
#include <algorithm>
#include <array>
#include <ctime>

#include "harness/io/chat_template/jinja_interpreter.h"

namespace mg::jinja {
namespace {

constexpr std::int64_t kMaxRange = 100'000;  // jinja2.sandbox.MAX_RANGE

Value range(Interpreter& run, const Value&, Arguments& arguments) {
  const Bound bound(run, arguments, "range", {"start", "stop", "step"});
  Range range;
  if (bound[1] == nullptr) {
    range.stop = run.need_integer(bound.need(0), "range() argument");
  } else {
    range.start = run.need_integer(bound.need(0), "range() argument");
    range.stop = run.need_integer(bound.need(1), "range() argument");
    range.step = bound.integer(2, 1);
  }
  constexpr std::int64_t kLimit = std::int64_t{1} << 60U;
  for (const std::int64_t bound_value : {range.start, range.stop, range.step}) {
    if (bound_value < -kLimit || bound_value > kLimit) {
      run.fail("chat_template.limit", "a range's bounds are too large");
    }
  }
  if (range.step == 0) {
    run.fail_type("range() arg 3 must not be zero");
  }
  if (range.size() > kMaxRange) {
    run.fail("chat_template.limit",
             "Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000).");
  }
  return run.heap().range(range);
}

void fill(Interpreter& run, Dict& dict, const Arguments& arguments, std::string_view function) {
  if (arguments.positional.size() > 1) {
    run.fail_type(std::string(function) + " expected at most 1 argument");
  }
  if (!arguments.positional.empty()) {
    const Value& source = arguments.positional[0];
    if (const Dict* other = as_dict(source)) {
      for (const auto& [key, value] : other->items) {
        dict.set(key, value);
      }
    } else {
      for (const Value& item : run.iterate(source)) {
        const Values pair = run.iterate(item);
        if (pair.size() != 2) {
          run.fail_type("dictionary update sequence element has length " +
                        std::to_string(pair.size()) + "; 2 is required");
        }
        dict.set(pair[0], pair[1]);
      }
    }
  }
  for (const auto& [key, value] : arguments.keyword) {
    dict.set(run.text(key), value);
  }
}

Value make_dict(Interpreter& run, const Value&, Arguments& arguments) {
  Dict* dict = run.heap().dict();
  fill(run, *dict, arguments, "dict");
  return dict;
}

Value make_namespace(Interpreter& run, const Value&, Arguments& arguments) {
  Namespace* space = run.heap().make_namespace();
  fill(run, space->attributes, arguments, "namespace");
  for (const auto& [key, value] : space->attributes.items) {
    if (as_text(key) != nullptr && as_text(key)->text.starts_with("_")) {
      run.fail("chat_template.security",
               "templates cannot store underscore-prefixed attributes on a namespace: " +
                   as_text(key)->text);
    }
  }
  return space;
}

Value cycler(Interpreter& run, const Value&, Arguments& arguments) {
  if (arguments.positional.empty()) {
    run.fail_type("at least one item has to be provided");
  }
  return run.heap().cycle({arguments.positional, 0, false, false});
}

Value joiner(Interpreter& run, const Value&, Arguments& arguments) {
  const Bound bound(run, arguments, "joiner", {"sep"});
  return run.heap().cycle({{run.text(bound.text(0, ", "))}, 0, true, false});
}

Value raise_exception(Interpreter& run, const Value&, Arguments& arguments) {
  const Bound bound(run, arguments, "raise_exception", {"message"});
  run.fail("chat_template.raised", run.str(bound.need(0)));
}

// datetime.strftime without a time zone: C's, in the "C" locale, plus %f.
Value strftime_now(Interpreter& run, const Value&, Arguments& arguments) {
  const Bound bound(run, arguments, "strftime_now", {"format"});
  run.need_text(bound.need(0), "format");
  if (!run.now()) {
    run.fail("chat_template.no-time", "the template asks for the time, and none was given");
  }
  const CalendarTime& now = *run.now();
  std::tm time{};
  time.tm_year = now.year - 1900;
  time.tm_mon = now.month - 1;
  time.tm_mday = now.day;
  time.tm_hour = now.hour;
  time.tm_min = now.minute;
  time.tm_sec = now.second;
  std::tm calendar = time;
  timegm(&calendar);  // fills in the day of the week and of the year
  std::string format;
  const std::string asked = bound.text(0, "");
  for (std::size_t i = 0; i < asked.size(); ++i) {
    if (asked[i] != '%' || i + 1 >= asked.size()) {
      format += asked[i];
      continue;
    }
    const char c = asked[++i];
    if (c == 'f') {
      format += "000000";
    } else if (c != 'z' && c != 'Z') {  // no time zone: nothing
      format += {'%', c};
    }
  }
  if (format.empty()) {
    return run.text("");
  }
  std::string out(format.size() * 16 + 256, '\0');
  out.resize(std::strftime(out.data(), out.size(), format.c_str(), &calendar));
  return run.text(std::move(out));
}

constexpr std::array kGlobals = {
    NativeRow{"cycler", cycler},
    NativeRow{"dict", make_dict},
    NativeRow{"joiner", joiner},
    NativeRow{"namespace", make_namespace},
    NativeRow{"raise_exception", raise_exception},
    NativeRow{"range", range},
    NativeRow{"strftime_now", strftime_now},
};

}  // namespace

std::optional<Value> global(Interpreter& run, std::string_view name) {
  const Native native = find_native(kGlobals, name);
  if (native == nullptr) {
    if (name == "lipsum") {
      run.fail("chat_template.unsupported", "the function lipsum is not supported");
    }
    return std::nullopt;
  }
  Callable function;
  function.name = std::string(name);
  function.native = native;
  return run.heap().callable(std::move(function));
}

}  // namespace mg::jinja
