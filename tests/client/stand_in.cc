// How the tests' server answers, and every way in which it misbehaves.
#include <chrono>
#include <nlohmann/json.hpp>

#include "tests/client/test_server.h"

namespace mg::test {
namespace {

using OrderedJson = nlohmann::ordered_json;

constexpr const char* kEventHead =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    "Transfer-Encoding: chunked\r\n\r\n";

void send_json(Wire& wire, const std::string& status, const OrderedJson& body,
               const std::string& headers = {}) {
  const std::string text = body.dump();
  wire.send("HTTP/1.1 " + status + "\r\nContent-Type: application/json\r\n" + headers +
            "Content-Length: " + std::to_string(text.size()) + "\r\n\r\n" + text);
}

OrderedJson error_body(const std::string& message) {
  return {{"error", {{"message", message}, {"type", "server_error"}}}};
}

/// One streamed answer.
class Stream {
 public:
  Stream(const Received& request, Wire& wire, const Manner& manner)
      : wire_(wire),
        manner_(manner),
        body_(OrderedJson::parse(request.body)),
        chat_(request.path.ends_with("/chat/completions")) {}

  void run() {
    if (whole_answer_instead()) {
      return;
    }
    wire_.send(kEventHead);
    if (is("slow-first-token")) {
      wire_.hang();
      return;
    }
    if (is("too-large")) {
      const std::string much(std::size_t{1} << 16U, 'x');
      while (!wire_.closed()) {  // until the client has had enough
        wire_.chunk(": " + much + "\n");
      }
      return;
    }
    if (chat_) {
      event({{"delta", {{"role", "assistant"}, {"content", ""}}}, {"finish_reason", nullptr}});
    }
    const auto tokens = body_.at("max_tokens").get<int>();
    for (int i = 0; i < tokens; ++i) {
      if (manner_.seconds_a_token > 0) {
        std::this_thread::sleep_for(std::chrono::duration<double>(manner_.seconds_a_token));
      }
      token(is("only-empty-deltas") ? "" : " word", i + 1 == tokens);
      if (is("empty-deltas")) {
        token("", false);
      }
      if (i == 1 && misbehave()) {
        return;
      }
    }
    if (!is("no-usage")) {
      usage(tokens);
    }
    if (is("not-closed")) {
      data("[DONE]");
      wire_.hang();
      return;
    }
    if (!is("no-done")) {
      data("[DONE]");
    }
    wire_.end_chunks();
  }

 private:
  bool is(std::string_view fault) const { return manner_.fault == fault; }

  /// Faults that begin with the first byte.
  bool whole_answer_instead() {
    if (is("http-500")) {
      send_json(wire_, "500 Internal Server Error", error_body("out of memory"));
    } else if (is("http-429")) {
      send_json(wire_, "429 Too Many Requests", error_body("slow down"), "Retry-After: 3\r\n");
    } else if (is("http-301")) {
      send_json(wire_, "301 Moved Permanently", {}, "Location: http://127.0.0.1:1/v1\r\n");
    } else if (is("not-events")) {
      send_json(wire_, "200 OK", {{"choices", {{{"text", " all at once"}}}}});
    } else if (is("hang")) {
      wire_.hang();
    } else if (is("reset")) {
      wire_.reset();
    } else if (is("no-answer")) {
      wire_.close();
    } else if (is("not-http")) {
      wire_.send("SSH-2.0-OpenSSH_9.2p1\r\n");
      wire_.close();
    } else if (is("wrong-length")) {
      wire_.send(
          "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 1000\r\n\r\n"
          ": hello\n\n");
      wire_.close();
    } else if (is("empty-body")) {
      wire_.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    } else {
      return false;
    }
    return true;
  }

  /// Faults after the second token; true where nothing is to follow.
  bool misbehave() {
    if (is("cut")) {
      wire_.close();
      return true;
    }
    if (is("cut-cleanly")) {  // the answer ends as HTTP wants it, in the middle of the text
      wire_.end_chunks();
      return true;
    }
    if (is("hang-in-the-middle")) {
      wire_.hang();
      return true;
    }
    if (is("bad-json")) {
      data("{\"id\": \"cmpl-1\", \"choices\": [");
    } else if (is("bad-event")) {
      data("[1, 2, 3]");
    } else if (is("server-error")) {
      data(error_body("the engine died").dump());
    } else if (is("wrong-id")) {
      id_ = "cmpl-other";
    } else if (is("wrong-model")) {
      model_ = "some-other-model";
    } else if (is("nested")) {
      data("{\"error\":" + std::string(100000, '[') + std::string(100000, ']') + "}");
    } else if (is("bad-chunk")) {
      wire_.send("zz\r\n");
      wire_.close();
      return true;
    }
    return false;
  }

  void token(const std::string& text, bool last) {
    OrderedJson choice{{"index", 0}};
    if (chat_) {
      choice["delta"] = {{"content", text}};
    } else {
      choice["text"] = text;
    }
    choice["finish_reason"] = !last           ? OrderedJson()
                              : is("aborted") ? OrderedJson("abort")
                                              : OrderedJson("length");
    event(choice);
  }

  void event(OrderedJson choice) { data(frame(OrderedJson::array({std::move(choice)})).dump()); }

  void usage(int tokens) {
    OrderedJson body = frame(OrderedJson::array());
    body["usage"] = {{"prompt_tokens", 7},
                     {"completion_tokens", is("bad-usage") ? tokens + 1 : tokens}};
    data(body.dump());
  }

  OrderedJson frame(OrderedJson choices) {
    OrderedJson body;
    if (!is("no-names")) {
      body["id"] = id_;
      body["model"] = model_.empty() ? body_.at("model").get<std::string>() : model_;
    }
    body["choices"] = std::move(choices);
    return body;
  }

  /// An event; where bytes are to be split, in pieces of 1, 2, 3, ... bytes, with other line ends
  /// and a comment between.
  void data(const std::string& text) {
    if (!is("odd-borders")) {
      wire_.chunk("data: " + text + "\n\n");
      return;
    }
    const std::string all = ": still here\r\ndata:" + text + "\r\n\r\n";
    std::size_t piece = 1;
    for (std::size_t at = 0; at < all.size(); at += piece, piece = piece % 5 + 1) {
      wire_.chunk(all.substr(at, piece));
    }
  }

  Wire& wire_;
  const Manner& manner_;
  OrderedJson body_;
  bool chat_;
  std::string id_ = "cmpl-1";
  std::string model_;
};

}  // namespace

std::vector<std::string> stand_in_faults() {
  return {"slow-first-token",
          "too-large",
          "only-empty-deltas",
          "empty-deltas",
          "no-usage",
          "not-closed",
          "no-done",
          "http-500",
          "http-429",
          "http-301",
          "not-events",
          "hang",
          "reset",
          "no-answer",
          "not-http",
          "wrong-length",
          "empty-body",
          "cut",
          "cut-cleanly",
          "hang-in-the-middle",
          "bad-json",
          "bad-event",
          "server-error",
          "wrong-id",
          "wrong-model",
          "nested",
          "bad-chunk",
          "aborted",
          "bad-usage",
          "no-names",
          "odd-borders"};
}

Respond stand_in(std::map<std::string, Manner> models) {
  return [models = std::move(models)](const Received& request, Wire& wire) {
    if (request.path == "/v1/models") {
      OrderedJson list{{"object", "list"}, {"data", OrderedJson::array()}};
      for (const auto& [name, manner] : models) {
        list["data"].push_back({{"id", name}, {"object", "model"}});
      }
      send_json(wire, "200 OK", list);
      return;
    }
    const auto manner =
        models.find(OrderedJson::parse(request.body).at("model").get<std::string>());
    if (manner == models.end()) {
      send_json(wire, "404 Not Found", error_body("The model does not exist."));
      return;
    }
    Stream(request, wire, manner->second).run();
  };
}

}  // namespace mg::test
