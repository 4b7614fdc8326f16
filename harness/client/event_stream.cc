#include "harness/client/event_stream.h"

namespace mg {

void EventStream::feed(std::string_view bytes,
                       const std::function<void(std::string_view data)>& event) {
  for (const char byte : bytes) {
    const bool second_of_pair = after_return_ && byte == '\n';
    after_return_ = byte == '\r';
    if (second_of_pair) {
      continue;
    }
    if (byte == '\r' || byte == '\n') {
      line(event);
      line_.clear();
    } else {
      line_ += byte;
    }
  }
}

void EventStream::line(const std::function<void(std::string_view data)>& event) {
  std::string_view text = line_;
  if (!begun_ && text.starts_with("\xEF\xBB\xBF")) {
    text.remove_prefix(3);
  }
  begun_ = true;
  if (text.empty()) {
    if (has_data_) {
      event(data_);
    }
    data_.clear();
    has_data_ = false;
    return;
  }
  const std::size_t colon = text.find(':');
  if (text.substr(0, colon) != "data") {
    return;  // a comment, or a field that says nothing here
  }
  std::string_view value = colon == std::string_view::npos ? "" : text.substr(colon + 1);
  if (value.starts_with(' ')) {
    value.remove_prefix(1);
  }
  if (has_data_) {
    data_ += '\n';
  }
  data_ += value;
  has_data_ = true;
}

}  // namespace mg
