// What the views say of a measured server: the title, the key numbers, a line's cells.  Not for:
// where they stand (terminal/, html/).
#pragma once

#include <string>
#include <vector>

#include "harness/result/server.h"
#include "reports/headline.h"

namespace mg {

/// The title of a run that measured a server; empty where the status alone says it.
std::string server_title(const Report& report);

/// Merged beside base + adapter; alone, its speed.
std::vector<KeyNumber> server_numbers(const Report& report);

/// "31 / 40.2 / -": median, p90 and p99 of a latency in milliseconds.
std::string latency_text(const LatencySummary& latency);

/// "413 of 416": whole answers.
std::string answered_text(const ServerLane& lane);

/// "1,234 tokens of 49 prompts, mean 0.0012 nat, largest 0.03 nat at ...": how far a model's
/// log-probabilities lie from our own engine's, or why that is not known.
std::string logprobs_text(const ServerLogprobs& logprobs);

/// "prompt "geo-3", token 5, " the": -1.23 on the server, -1.26 in the engine"; empty: none.
std::string worst_logprob_text(const ServerLogprobs& logprobs);

/// "URL, completions, 8 requests at once, ...": how the server was asked.
std::string server_setting(const ServerResult& server);

}  // namespace mg
