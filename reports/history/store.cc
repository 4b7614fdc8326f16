#include "reports/history/store.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <algorithm>
#include <functional>

#include <nlohmann/json.hpp>
#include <string_view>

#include "kernels/core/error.h"
#include "reports/headline.h"

namespace mg {
namespace {

constexpr int kApplication = 0x4D474831;  // "MGH1", in the file's header
constexpr int kVersion = 1;
constexpr int kPatienceMs = 30000;

constexpr const char* kSchema = R"sql(
CREATE TABLE runs(
  id INTEGER PRIMARY KEY, key TEXT NOT NULL, fields TEXT NOT NULL, started TEXT NOT NULL,
  digest TEXT NOT NULL UNIQUE, status TEXT NOT NULL, merged TEXT NOT NULL);
CREATE INDEX runs_of_key ON runs(key, id);
CREATE TABLE gate_values(
  run INTEGER NOT NULL REFERENCES runs(id), gate TEXT NOT NULL, value REAL, lower REAL, upper REAL,
  limit_ REAL, floor REAL, status TEXT NOT NULL, unit TEXT NOT NULL, PRIMARY KEY(run, gate))
  WITHOUT ROWID;
)sql";

Error history_error(std::string code, std::string what, const std::string& where,
                    std::string actual, std::string hint) {
  return Error({.code = "history." + std::move(code),
                .what = std::move(what),
                .where = where,
                .expected = {},
                .actual = std::move(actual),
                .hint = std::move(hint)});
}

nlohmann::ordered_json fields_json(const ComparabilityKey& key) {
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  for (const auto& [name, value] : key.fields) {
    json.push_back({name, value});
  }
  return json;
}

}  // namespace

/// The connection and its statements; every failure becomes an Error that names the file.
class History::Database {
 public:
  Database(const std::filesystem::path& path, bool create) : path_(path.string()) {
    const int flags = create ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY;
    const int code = sqlite3_open_v2(path_.c_str(), &handle_, flags, nullptr);
    if (code != SQLITE_OK) {
      const std::string actual = sqlite3_errmsg(handle_);
      sqlite3_close(handle_);
      throw history_error("unreadable", "the history cannot be opened", path_, actual, "");
    }
    sqlite3_busy_timeout(handle_, kPatienceMs);
  }
  ~Database() { sqlite3_close(handle_); }
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  void run(const char* sql) { check(sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr)); }

  void check(int code) const {
    if (code == SQLITE_OK || code == SQLITE_DONE || code == SQLITE_ROW) {
      return;
    }
    const std::string actual = sqlite3_errmsg(handle_);
    switch (code & 0xFF) {
      case SQLITE_NOTADB:
      case SQLITE_CORRUPT:
        throw history_error("damaged", "the history is damaged and was left as it is", path_,
                            actual, "move it away and a new one begins with the next run");
      case SQLITE_BUSY:
      case SQLITE_LOCKED:
        throw history_error("busy", "another program holds the history", path_, actual,
                            "try again when it is done");
      default:
        throw history_error("cannot-write", "the history could not be read or written", path_,
                            actual, "");
    }
  }

  sqlite3* handle() const { return handle_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  sqlite3* handle_ = nullptr;
};

namespace {

class Statement {
 public:
  template <typename Database>
  Statement(const Database& database, const char* sql)
      : check_([&database](int code) { database.check(code); }) {
    check_(sqlite3_prepare_v2(database.handle(), sql, -1, &statement_, nullptr));
  }
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& bind(std::string_view text) {
    check_(sqlite3_bind_text(statement_, ++bound_, text.data(), static_cast<int>(text.size()),
                             SQLITE_TRANSIENT));
    return *this;
  }
  Statement& bind(std::int64_t number) {
    check_(sqlite3_bind_int64(statement_, ++bound_, number));
    return *this;
  }
  Statement& bind(const std::optional<double>& number) {
    ++bound_;
    check_(number ? sqlite3_bind_double(statement_, bound_, *number)
                  : sqlite3_bind_null(statement_, bound_));
    return *this;
  }

  /// True while there is a row.
  bool step() {
    const int code = sqlite3_step(statement_);
    check_(code);
    return code == SQLITE_ROW;
  }

  std::string text(int column) const {
    const auto* bytes = static_cast<const char*>(sqlite3_column_blob(statement_, column));
    const int size = sqlite3_column_bytes(statement_, column);
    return bytes == nullptr ? std::string() : std::string(bytes, static_cast<std::size_t>(size));
  }
  std::int64_t integer(int column) const { return sqlite3_column_int64(statement_, column); }
  std::optional<double> real(int column) const {
    return sqlite3_column_type(statement_, column) == SQLITE_NULL
               ? std::nullopt
               : std::optional(sqlite3_column_double(statement_, column));
  }

 private:
  std::function<void(int)> check_;
  sqlite3_stmt* statement_ = nullptr;
  int bound_ = 0;
};

template <typename Database>
std::int64_t pragma(const Database& database, const char* sql) {
  Statement statement(database, sql);
  return statement.step() ? statement.integer(0) : 0;
}

/// "ok", or what is wrong.  The statement ends here: an open one would keep its lock on the file,
/// and two programs that each wait for the other's never get further.
template <typename Database>
std::string quick_check(const Database& database) {
  Statement check(database, "PRAGMA quick_check(1)");
  return check.step() ? check.text(0) : "no answer";
}

/// A file of ours, whole, of a version this program knows; an empty one becomes that.
template <typename Database>
void require_history(Database& database, bool create) {
  const std::string state = quick_check(database);
  if (state != "ok") {
    throw history_error("damaged", "the history is damaged and was left as it is", database.path(),
                        state, "move it away and a new one begins with the next run");
  }
  if (create && pragma(database, "PRAGMA application_id") == 0) {
    // Two writers may both find it empty: the second waits here and then finds it made.
    database.run("BEGIN IMMEDIATE");
    if (pragma(database, "PRAGMA application_id") == 0 &&
        pragma(database, "SELECT count(*) FROM sqlite_schema") == 0) {
      database.run(kSchema);
      database.run(
          fmt::format("PRAGMA application_id={};PRAGMA user_version={}", kApplication, kVersion)
              .c_str());
    }
    database.run("COMMIT");
  }
  if (pragma(database, "PRAGMA application_id") != kApplication) {
    throw history_error("foreign", "the file is not a history of runs", database.path(),
                        "a database of another program", "give another file");
  }
  const std::int64_t version = pragma(database, "PRAGMA user_version");
  if (version > kVersion) {
    throw history_error("newer", "the history was written by a later version", database.path(),
                        fmt::format("version {}, this program knows {}", version, kVersion),
                        "use the later mergegauge, or another file");
  }
}

template <typename Database>
std::vector<HistoryValue> values_of(const Database& database, std::int64_t run) {
  Statement rows(database,
                 "SELECT gate, value, lower, upper, limit_, floor, status, unit FROM gate_values "
                 "WHERE run = ? ORDER BY gate");
  rows.bind(run);
  std::vector<HistoryValue> values;
  while (rows.step()) {
    HistoryValue value;
    value.gate = rows.text(0);
    value.value = rows.real(1);
    if (rows.real(2) && rows.real(3)) {
      value.interval = Interval{*rows.real(2), *rows.real(3)};
    }
    value.limit = rows.real(4);
    value.floor = rows.real(5);
    value.status = rows.text(6);
    value.unit = rows.text(7);
    values.push_back(std::move(value));
  }
  return values;
}

}  // namespace

History::History(std::unique_ptr<Database> database) : database_(std::move(database)) {}
History::History(History&&) noexcept = default;
History& History::operator=(History&&) noexcept = default;
History::~History() = default;

History History::open(const std::filesystem::path& path, bool create) {
  if (!create && !std::filesystem::exists(path)) {
    throw history_error("missing", "there is no such history", path.string(), "no file",
                        "`mergegauge check --history FILE` makes one");
  }
  auto database = std::make_unique<Database>(path, create);
  require_history(*database, create);
  return History(std::move(database));
}

void History::append(const ReportView& view) {
  const Report& report = view.report;
  const ComparabilityKey key = comparability_key(report);
  database_->run("BEGIN IMMEDIATE");
  try {
    Statement run(*database_,
                  "INSERT INTO runs(key, fields, started, digest, status, merged) "
                  "VALUES(?, ?, ?, ?, ?, ?) ON CONFLICT(digest) DO NOTHING RETURNING id");
    run.bind(key_digest(key))
        .bind(fields_json(key).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace))
        .bind(report.timing ? report.timing->started : std::string())
        .bind(view.digest)
        .bind(run_status_name(report.status))
        .bind(report.inputs.merged);
    if (run.step()) {
      const std::int64_t id = run.integer(0);
      for (const HistoryValue& value : history_values(report)) {
        Statement row(*database_, "INSERT INTO gate_values VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)");
        const auto& ends = value.interval;
        row.bind(id)
            .bind(value.gate)
            .bind(value.value)
            .bind(ends ? std::optional(ends->lower) : std::nullopt)
            .bind(ends ? std::optional(ends->upper) : std::nullopt)
            .bind(value.limit)
            .bind(value.floor)
            .bind(value.status)
            .bind(value.unit)
            .step();
      }
      run.step();
    }
  } catch (...) {
    sqlite3_exec(database_->handle(), "ROLLBACK", nullptr, nullptr, nullptr);
    throw;
  }
  database_->run("COMMIT");
}

std::vector<HistorySeries> History::series() const {
  Statement rows(
      *database_,
      "SELECT fields, count(*), max(started) FROM runs GROUP BY key ORDER BY max(id) DESC");
  std::vector<HistorySeries> all;
  while (rows.step()) {
    HistorySeries one;
    const auto fields = nlohmann::json::parse(rows.text(0), nullptr, false);
    for (const auto& field : fields) {
      if (field.is_array() && field.size() == 2 && field[0].is_string() && field[1].is_string()) {
        one.key.fields.emplace_back(field[0].get<std::string>(), field[1].get<std::string>());
      }
    }
    one.runs = rows.integer(1);
    one.last_started = rows.text(2);
    all.push_back(std::move(one));
  }
  return all;
}

std::vector<HistoryRun> History::runs(const ComparabilityKey& key, std::int64_t most) const {
  Statement rows(
      *database_,
      "SELECT * FROM (SELECT id, started, digest, status, merged FROM runs WHERE key = ? "
      "ORDER BY id DESC LIMIT ?) ORDER BY id");
  rows.bind(key_digest(key)).bind(most);
  std::vector<HistoryRun> all;
  while (rows.step()) {
    HistoryRun run;
    run.id = rows.integer(0);
    run.started = rows.text(1);
    run.digest = rows.text(2);
    run.status = rows.text(3);
    run.merged = rows.text(4);
    run.values = values_of(*database_, run.id);
    all.push_back(std::move(run));
  }
  return all;
}

std::vector<HistoryValue> history_values(const Report& report) {
  std::vector<HistoryValue> values;
  for (const Verdict& verdict : report.verdicts) {
    const bool known = std::any_of(values.begin(), values.end(), [&](const HistoryValue& value) {
      return value.gate == verdict.gate;
    });
    if (verdict.value && !known && !verdict.gate.starts_with("baseline.")) {
      values.push_back({verdict.gate, verdict.value, gate_interval(verdict).interval, verdict.limit,
                        verdict.floor, std::string(gate_status_name(verdict.status)),
                        verdict.unit});
    }
  }
  return values;
}

}  // namespace mg
