#include "harness/client/http.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "kernels/core/error.h"

namespace mg {
namespace {

struct EasyDeleter {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};
struct MultiDeleter {
  void operator()(CURLM* multi) const { curl_multi_cleanup(multi); }
};
struct HeaderDeleter {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
struct UrlDeleter {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
struct TextDeleter {
  void operator()(char* text) const { curl_free(text); }
};
using Easy = std::unique_ptr<CURL, EasyDeleter>;
using Headers = std::unique_ptr<curl_slist, HeaderDeleter>;

/// libcurl's own state of the process, while somebody needs it.
class CurlLibrary {
 public:
  CurlLibrary() {
    MG_CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK, "libcurl cannot be started");
  }
  ~CurlLibrary() { curl_global_cleanup(); }
  CurlLibrary(const CurlLibrary&) = delete;
  CurlLibrary& operator=(const CurlLibrary&) = delete;
};

template <typename Value>
void set_option(CURL* easy, CURLoption option, Value value) {
  MG_CHECK(curl_easy_setopt(easy, option, value) == CURLE_OK, "libcurl knows the option");
}

void add_header(Headers& headers, const std::string& line) {
  curl_slist* longer = curl_slist_append(headers.get(), line.c_str());
  MG_CHECK(longer != nullptr, "libcurl keeps a header");
  static_cast<void>(headers.release());
  headers.reset(longer);
}

void check_key(const std::string& key) {
  const bool fits =
      std::all_of(key.begin(), key.end(), [](char byte) { return byte > ' ' && byte <= '~'; });
  if (!fits) {
    throw Error({.code = "server.key",
                 .what = "the API key holds bytes that no header takes",
                 .where = "MERGEGAUGE_API_KEY or OPENAI_API_KEY",
                 .expected = "printable ASCII without blanks",
                 .actual = "not shown",
                 .hint = "a line feed at its end is a common slip"});
  }
}

HttpEnd end_of(CURLcode code, bool too_large) {
  switch (code) {
    case CURLE_OK:
      return HttpEnd::kWhole;
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
      return HttpEnd::kUnreachable;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ISSUER_ERROR:
      return HttpEnd::kInsecure;
    case CURLE_OPERATION_TIMEDOUT:
      return HttpEnd::kTimedOut;
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
      return HttpEnd::kCut;
    case CURLE_WRITE_ERROR:
      return too_large ? HttpEnd::kTooLarge : HttpEnd::kMalformed;
    default:
      return HttpEnd::kMalformed;
  }
}

}  // namespace

class HttpClient::Impl {
 public:
  explicit Impl(HttpOptions options)
      : options_(std::move(options)),
        clock_(options_.clock ? options_.clock : wall_clock()),
        multi_(curl_multi_init()) {
    MG_CHECK(multi_ != nullptr, "libcurl gives a handle");
    MG_CHECK(options_.at_once > 0, "there is room for a request");
    check_key(options_.api_key);
    curl_multi_setopt(multi_.get(), CURLMOPT_MAXCONNECTS,
                      static_cast<long>(std::max<std::size_t>(options_.at_once, 4)));
  }

  std::vector<HttpAnswer> send(std::span<const HttpRequest> requests) {
    std::vector<HttpAnswer> answers(requests.size());
    std::size_t next = 0;
    double paused_until = 0;
    const double begin = clock_();
    const auto due = [&](std::size_t index) {
      return options_.rate ? begin + static_cast<double>(index) / *options_.rate : begin;
    };
    while (next < requests.size() || !active_.empty()) {
      double now = clock_();
      while (next < requests.size() && active_.size() < options_.at_once && now >= due(next) &&
             now >= paused_until) {
        answers[next].due = options_.rate ? due(next) : now;
        start(requests[next], answers[next], now);
        ++next;
        now = clock_();
      }
      int running = 0;
      MG_CHECK(curl_multi_perform(multi_.get(), &running) == CURLM_OK, "libcurl works");
      for (const HttpAnswer* answer : finish()) {
        const double pause = std::min(answer->retry_after_s.value_or(0), options_.longest_pause_s);
        paused_until = std::max(paused_until, answer->ended + pause);
      }
      wait(next < requests.size() ? std::max(due(next), paused_until) : paused_until,
           next < requests.size() && active_.size() < options_.at_once);
    }
    return answers;
  }

 private:
  struct Transfer {
    Impl* owner = nullptr;
    Easy easy;
    Headers headers;
    std::string body;
    HttpAnswer* answer = nullptr;
    bool too_large = false;
    char message[CURL_ERROR_SIZE] = {};
  };

  static std::size_t receive(char* bytes, std::size_t size, std::size_t count, void* target) {
    auto& transfer = *static_cast<Transfer*>(target);
    HttpAnswer& answer = *transfer.answer;
    const std::size_t length = size * count;
    if (answer.body.size() + length > transfer.owner->options_.body_limit) {
      transfer.too_large = true;
      return 0;  // ends the transfer
    }
    answer.body.append(bytes, length);
    answer.arrivals.push_back({transfer.owner->clock_(), answer.body.size()});
    return length;
  }

  void prepare(Transfer& transfer, const HttpRequest& request) {
    CURL* easy = transfer.easy.get();
    set_option(easy, CURLOPT_URL, request.url.c_str());
    set_option(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    set_option(easy, CURLOPT_FOLLOWLOCATION, 0L);  // the key goes nowhere else
    set_option(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    set_option(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    set_option(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
    set_option(easy, CURLOPT_NOSIGNAL, 1L);
    set_option(easy, CURLOPT_ERRORBUFFER, &transfer.message[0]);
    set_option(easy, CURLOPT_WRITEFUNCTION, &receive);
    set_option(easy, CURLOPT_WRITEDATA, &transfer);
    set_option(easy, CURLOPT_PRIVATE, &transfer);
    if (!options_.ca_file.empty()) {
      set_option(easy, CURLOPT_CAINFO, options_.ca_file.c_str());
    }
    if (options_.direct) {
      set_option(easy, CURLOPT_PROXY, "");
    }
    if (!request.body.empty()) {
      transfer.body = request.body;
      set_option(easy, CURLOPT_POSTFIELDS, transfer.body.c_str());
      set_option(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(transfer.body.size()));
      add_header(transfer.headers, "Content-Type: application/json");
      add_header(transfer.headers, "Expect:");  // no round trip before the body
    }
    add_header(transfer.headers,
               request.events ? "Accept: text/event-stream" : "Accept: application/json");
    if (!options_.api_key.empty()) {
      add_header(transfer.headers, "Authorization: Bearer " + options_.api_key);
    }
    set_option(easy, CURLOPT_HTTPHEADER, transfer.headers.get());
  }

  void start(const HttpRequest& request, HttpAnswer& answer, double now) {
    active_.push_back(std::make_unique<Transfer>());
    Transfer& transfer = *active_.back();
    transfer.owner = this;
    transfer.easy.reset(curl_easy_init());
    MG_CHECK(transfer.easy != nullptr, "libcurl gives a handle");
    transfer.answer = &answer;
    prepare(transfer, request);
    answer.sent = now;
    MG_CHECK(curl_multi_add_handle(multi_.get(), transfer.easy.get()) == CURLM_OK,
             "libcurl takes a request");
  }

  void end(Transfer& transfer, HttpEnd end, std::string detail) {
    HttpAnswer& answer = *transfer.answer;
    CURL* easy = transfer.easy.get();
    answer.end = end;
    answer.detail = std::move(detail);
    answer.ended = clock_();
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &answer.status);
    const char* type = nullptr;
    if (curl_easy_getinfo(easy, CURLINFO_CONTENT_TYPE, &type) == CURLE_OK && type != nullptr) {
      answer.content_type = type;
    }
    curl_off_t retry = 0;  // seconds, of either form of the header
    if (answer.status >= 400 && curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &retry) == CURLE_OK &&
        retry > 0) {
      answer.retry_after_s = static_cast<double>(retry);
    }
    curl_multi_remove_handle(multi_.get(), easy);
  }

  /// Takes out what has ended or has taken too long.
  std::vector<const HttpAnswer*> finish() {
    std::vector<const HttpAnswer*> ended;
    const auto take = [&](Transfer& transfer, HttpEnd how, const std::string& detail) {
      end(transfer, how, detail);
      ended.push_back(transfer.answer);
      std::erase_if(active_, [&](const auto& each) { return each.get() == &transfer; });
    };
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi_.get(), &left)) {
      const CURLcode code = message->data.result;
      Transfer* transfer = nullptr;
      curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
      const std::string detail = code == CURLE_OK               ? std::string()
                                 : transfer->message[0] == '\0' ? curl_easy_strerror(code)
                                                                : &transfer->message[0];
      take(*transfer, end_of(code, transfer->too_large), detail);
    }
    const double now = clock_();
    std::vector<Transfer*> late;
    for (const auto& transfer : active_) {
      if (now - transfer->answer->sent > options_.timeout_s) {
        late.push_back(transfer.get());
      }
    }
    for (Transfer* transfer : late) {
      take(*transfer, HttpEnd::kTimedOut, fmt::format("no end within {} s", options_.timeout_s));
    }
    return ended;
  }

  /// Until something arrives, a request is due (where there is room for it) or one is late.
  void wait(double due, bool room) {
    if (active_.empty() && !room) {
      return;
    }
    constexpr double kLongest = 0.1;  // a clock of a test may run otherwise than the wall's
    const double now = clock_();
    double seconds = kLongest;
    if (room) {
      seconds = std::min(seconds, due - now);
    }
    for (const auto& transfer : active_) {
      seconds = std::min(seconds, transfer->answer->sent + options_.timeout_s - now);
    }
    const double milliseconds = std::ceil(1000 * std::max(seconds, 0.0));
    curl_multi_poll(multi_.get(), nullptr, 0, static_cast<int>(milliseconds), nullptr);
  }

  CurlLibrary library_;
  HttpOptions options_;
  BenchClock clock_;
  std::unique_ptr<CURLM, MultiDeleter> multi_;
  std::vector<std::unique_ptr<Transfer>> active_;
};

HttpClient::HttpClient(HttpOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
HttpClient::~HttpClient() = default;

std::vector<HttpAnswer> HttpClient::send(std::span<const HttpRequest> requests) {
  return impl_->send(requests);
}

namespace {

std::string url_part(CURLU* url, CURLUPart part) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, 0) != CURLUE_OK) {
    return {};
  }
  const std::unique_ptr<char, TextDeleter> owner(text);
  return text;
}

[[noreturn]] void bad_url(std::string what, std::string actual, std::string hint = {}) {
  throw Error({.code = "server.url",
               .what = std::move(what),
               .where = "--openai",
               .expected = "http://HOST:PORT or https://HOST:PORT, /v1 behind it if you like",
               .actual = std::move(actual),
               .hint = std::move(hint)},
              ErrorKind::kUsage);
}

}  // namespace

ServerUrl parse_server_url(const std::string& text) {
  const std::unique_ptr<CURLU, UrlDeleter> url(curl_url());
  MG_CHECK(url != nullptr, "libcurl gives a URL");
  if (curl_url_set(url.get(), CURLUPART_URL, text.c_str(), CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK) {
    bad_url("the server's URL is not understood", text);
  }
  if (!url_part(url.get(), CURLUPART_USER).empty() ||
      !url_part(url.get(), CURLUPART_PASSWORD).empty()) {
    bad_url("the server's URL holds a user or a password", "not shown",
            "give the key in MERGEGAUGE_API_KEY: the report keeps the URL");
  }
  const std::string scheme = url_part(url.get(), CURLUPART_SCHEME);
  if (scheme != "http" && scheme != "https") {
    bad_url("the server's URL has another scheme", scheme);
  }
  if (!url_part(url.get(), CURLUPART_QUERY).empty() ||
      !url_part(url.get(), CURLUPART_FRAGMENT).empty()) {
    bad_url("the server's URL has a query or a fragment", text);
  }
  ServerUrl parsed;
  const std::string host = url_part(url.get(), CURLUPART_HOST);
  const std::string port = url_part(url.get(), CURLUPART_PORT);
  std::string path = url_part(url.get(), CURLUPART_PATH);
  while (path.ends_with('/')) {
    path.pop_back();
  }
  parsed.encrypted = scheme == "https";
  parsed.loopback = host == "localhost" || host == "[::1]" || host.starts_with("127.");
  parsed.base = fmt::format("{}://{}{}{}{}", scheme, host, port.empty() ? "" : ":" + port, path,
                            path.ends_with("/v1") ? "" : "/v1");
  return parsed;
}

}  // namespace mg
