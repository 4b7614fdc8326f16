// A server on loopback that says exactly what a test tells it to, byte for byte: plain sockets,
// since an HTTP library would refuse to misbehave.  A thread a connection.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace mg::test {

struct Received {
  std::string method;
  std::string path;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
  int connection = 0;  // which one, from 1
};

class TestServer;

/// The server's end of a connection.
class Wire {
 public:
  Wire(TestServer& server, int socket) : server_(server), socket_(socket) {}
  void send(std::string_view bytes);
  /// One chunk of "Transfer-Encoding: chunked"; empty text ends the answer.
  void chunk(std::string_view text);
  void end_chunks() { send("0\r\n\r\n"); }
  /// Says nothing more until the server is taken down.
  void hang();
  /// Ends the connection after the answer.
  void close() { closed_ = true; }
  /// Ends it now, with a reset.
  void reset();
  bool closed() const { return closed_; }

 private:
  TestServer& server_;
  int socket_;
  bool closed_ = false;
};

using Respond = std::function<void(const Received& request, Wire& wire)>;

class TestServer {
 public:
  /// Listens on 127.0.0.1; 0: any free port.
  explicit TestServer(Respond respond, int port = 0);
  ~TestServer();
  TestServer(const TestServer&) = delete;
  TestServer& operator=(const TestServer&) = delete;

  std::string url() const;
  /// Connections that will say nothing more.
  int hanging() const { return hanging_; }
  /// What came so far.
  std::vector<Received> received() const;

 private:
  friend class Wire;
  void accept_all();
  void serve(int socket, int connection);
  void wait_for_end();

  Respond respond_;
  int listener_ = -1;
  int port_ = 0;
  mutable std::mutex mutex_;
  std::condition_variable ended_;
  bool stopping_ = false;
  std::atomic<int> hanging_ = 0;
  std::vector<Received> received_;
  std::list<int> sockets_;
  std::list<std::thread> threads_;
  std::thread acceptor_;
};

/// How a model answers.
struct Manner {
  std::string fault = {};      // empty: as it should; else a name of stand_in.cc's list
  double seconds_a_token = 0;  // real ones: for the stand-in program, not for tests
};

/// Answers as vLLM does: /v1/models, and streams of `max_tokens` tokens from /v1/completions and
/// /v1/chat/completions, each model in its manner.
Respond stand_in(std::map<std::string, Manner> models);

/// The faults that stand_in knows.
std::vector<std::string> stand_in_faults();

}  // namespace mg::test
