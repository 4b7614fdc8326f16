// Many HTTP requests at once, and when each byte of their answers came.  The one place that knows
// libcurl.  Only http and https; certificates are checked; nothing is followed elsewhere, since a
// key goes along.  Not for: what requests and answers mean (openai.h, answer.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/bench/rounds.h"

namespace mg {

struct HttpRequest {
  std::string url;
  std::string body;     // JSON; empty: GET
  bool events = false;  // the answer is to be a stream of events
};

/// How an answer ended.
enum class HttpEnd : std::uint8_t {
  kWhole,
  kUnreachable,  // no such host, nobody listens
  kInsecure,     // TLS failed, or the certificate is not valid
  kCut,          // the connection ended before the answer did
  kTimedOut,
  kTooLarge,
  kMalformed,  // what came is not HTTP
};

struct HttpAnswer {
  HttpEnd end = HttpEnd::kWhole;
  std::string detail;  // what the connection said, where it did not end well
  long status = 0;     // 0: no answer began
  std::string content_type;
  std::optional<double> retry_after_s;
  std::string body;
  struct Arrival {
    double at = 0;        // on the clock
    std::size_t end = 0;  // bytes of `body` that were there by then
  };
  std::vector<Arrival> arrivals;
  double due = 0;   // when it was to be sent
  double sent = 0;  // when it was
  double ended = 0;
};

struct HttpOptions {
  std::size_t at_once = 1;
  std::optional<double> rate;   // requests per second; request i is due i / rate after the first
  double timeout_s = 120;       // of a request, from sending it
  double longest_pause_s = 60;  // that a Retry-After may ask for
  std::size_t body_limit = std::size_t{16} << 20U;
  std::string api_key;  // sent as "Authorization: Bearer"; empty: none
  std::string ca_file;  // certificates to accept; empty: the system's
  bool direct = false;  // past the proxies that the environment names
  BenchClock clock;     // empty: the wall's
};

/// Connections stay open between calls.
class HttpClient {
 public:
  /// Throws Error "server.key" for a key that no header can hold.
  explicit HttpClient(HttpOptions options);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  /// All of them, in the order of the requests.  After an answer with Retry-After nothing new is
  /// sent for that long.
  std::vector<HttpAnswer> send(std::span<const HttpRequest> requests);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

struct ServerUrl {
  std::string base;  // "http://127.0.0.1:8000/v1"
  bool encrypted = false;
  bool loopback = false;  // this machine itself
};

/// The URL of a server, "/v1" added where it is missing.  Throws Error "server.url" (a usage error)
/// for what is no URL, for schemes other than http and https, and where user, query or fragment
/// are given: the report keeps the URL.
ServerUrl parse_server_url(const std::string& text);

}  // namespace mg
