// Server-sent events out of bytes as they arrive, cut anywhere.  The format is the HTML Living
// Standard's section 9.2.6 ("Interpreting an event stream").  Not for: what the events say
// (answer.h).
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace mg {

class EventStream {
 public:
  /// Calls `event` with the data of each event that these bytes complete.  An event without data is
  /// none, and one that no empty line ends is never told, as the standard has it.
  void feed(std::string_view bytes, const std::function<void(std::string_view data)>& event);

 private:
  void line(const std::function<void(std::string_view data)>& event);

  std::string line_;
  std::string data_;
  bool has_data_ = false;
  bool after_return_ = false;  // the last byte was a carriage return: a line feed belongs to it
  bool begun_ = false;         // a byte order mark may stand before the first line only
};

}  // namespace mg
