#include "tests/client/test_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <optional>
#include <stdexcept>

namespace mg::test {
namespace {

/// Reads requests off a connection, one after another.
class RequestReader {
 public:
  explicit RequestReader(int socket) : socket_(socket) {}

  std::optional<Received> next() {
    constexpr char kTlsHandshake = 0x16;
    std::size_t end = 0;
    while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
      if (!more() || buffer_.front() == kTlsHandshake) {
        return std::nullopt;
      }
    }
    Received request;
    read_head(buffer_.substr(0, end + 2), request);
    const auto length = request.headers.find("content-length");
    const std::size_t body = length == request.headers.end() ? 0 : std::stoul(length->second);
    while (buffer_.size() < end + 4 + body) {
      if (!more()) {
        return std::nullopt;
      }
    }
    request.body = buffer_.substr(end + 4, body);
    buffer_.erase(0, end + 4 + body);
    return request;
  }

 private:
  static void read_head(const std::string& head, Received& request) {
    const std::size_t first = head.find("\r\n");
    const std::string line = head.substr(0, first);
    const std::size_t blank = line.find(' ');
    request.method = line.substr(0, blank);
    request.path = line.substr(blank + 1, line.rfind(' ') - blank - 1);
    for (std::size_t at = first + 2; at < head.size();) {
      const std::size_t end = head.find("\r\n", at);
      const std::size_t colon = head.find(':', at);
      std::string name = head.substr(at, colon - at);
      std::transform(name.begin(), name.end(), name.begin(),
                     [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
      const std::size_t value = head.find_first_not_of(' ', colon + 1);
      request.headers[name] = head.substr(value, end - value);
      at = end + 2;
    }
  }

  bool more() {
    std::array<char, 4096> bytes{};
    const ssize_t count = ::recv(socket_, bytes.data(), bytes.size(), 0);
    if (count <= 0) {
      return false;
    }
    buffer_.append(bytes.data(), static_cast<std::size_t>(count));
    return true;
  }

  int socket_;
  std::string buffer_;
};

}  // namespace

void Wire::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count <= 0) {
      closed_ = true;  // the client went away
      return;
    }
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
}

void Wire::chunk(std::string_view text) {
  std::array<char, 32> size{};
  std::snprintf(size.data(), size.size(), "%zx\r\n", text.size());
  send(std::string(size.data()) + std::string(text) + "\r\n");
}

void Wire::hang() {
  server_.wait_for_end();
  closed_ = true;
}

void Wire::reset() {
  const linger now{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(socket_, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  closed_ = true;
}

TestServer::TestServer(Respond respond, int port) : respond_(std::move(respond)) {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  ::setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  socklen_t length = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (::bind(listener_, generic, length) != 0 || ::listen(listener_, 64) != 0 ||
      ::getsockname(listener_, generic, &length) != 0) {
    throw std::runtime_error("the test's server cannot listen on loopback");
  }
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { accept_all(); });
}

TestServer::~TestServer() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    for (const int socket : sockets_) {
      ::shutdown(socket, SHUT_RDWR);
    }
  }
  ended_.notify_all();
  ::shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  for (std::thread& thread : threads_) {
    thread.join();
  }
  ::close(listener_);
}

std::string TestServer::url() const {
  return "http://127.0.0.1:" + std::to_string(port_);
}

std::vector<Received> TestServer::received() const {
  const std::lock_guard lock(mutex_);
  return received_;
}

void TestServer::accept_all() {
  for (int connection = 1;; ++connection) {
    const int socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (socket < 0) {
      return;
    }
    const int on = 1;  // each send is a packet: answers come in pieces
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    const std::lock_guard lock(mutex_);
    if (stopping_) {
      ::close(socket);
      return;
    }
    sockets_.push_back(socket);
    threads_.emplace_back([this, socket, connection] { serve(socket, connection); });
  }
}

void TestServer::serve(int socket, int connection) {
  RequestReader reader(socket);
  Wire wire(*this, socket);
  while (!wire.closed()) {
    auto request = reader.next();
    if (!request) {
      break;
    }
    request->connection = connection;
    {
      const std::lock_guard lock(mutex_);
      received_.push_back(*request);
    }
    respond_(*request, wire);
  }
  const std::lock_guard lock(mutex_);
  sockets_.remove(socket);
  ::close(socket);
}

void TestServer::wait_for_end() {
  ++hanging_;
  std::unique_lock lock(mutex_);
  ended_.wait(lock, [this] { return stopping_; });
}

}  // namespace mg::test
