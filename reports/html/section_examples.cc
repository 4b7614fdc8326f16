#include <fmt/format.h>

#include <algorithm>

#include "reports/format.h"
#include "reports/headline.h"
#include "reports/html/charts.h"
#include "reports/html/sections.h"
#include "reports/labels.h"
#include "reports/text.h"

namespace mg::html {
namespace {

constexpr std::size_t kContextBytes = 600;
constexpr double kBar = 60.0;

/// The end of a long context, from the beginning of a character on.
std::string_view tail(std::string_view text) {
  if (text.size() <= kContextBytes) {
    return text;
  }
  text.remove_prefix(text.size() - kContextBytes);
  while (!text.empty() && (static_cast<unsigned char>(text.front()) & 0xC0U) == 0x80U) {
    text.remove_prefix(1);
  }
  return text;
}

/// Lines as lines, each end marked, since a line break is a token too.
Markup context_text(std::string_view context) {
  const std::string_view shown = tail(context);
  Markup out;
  if (shown.size() < context.size()) {
    out.add("…");
  }
  std::string_view rest = shown;
  for (std::size_t end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
    out.add("{}<span class=faint>↵</span>\n", rest.substr(0, end));
    rest.remove_prefix(end + 1);
  }
  return out.add("{}", rest);
}

Markup token_text(std::string_view text, std::int64_t id) {
  return text.empty() ? markup("<span class=faint>token {}</span>", id)
                      : markup("<code class=token>{}</code>", text);
}

Markup lane_list(const LaneTop& lane, const Evidence& card) {
  Markup out;
  out.add("<div class=lane><h4>{}</h4><ol>", lane_label(lane.lane));
  for (const TopToken& token : lane.tokens) {
    const double share = std::clamp(token.probability, 0.0, 1.0);
    out.add("<li>{}", token_text(token.text, token.id));
    if (card.target_id && *card.target_id == token.id) {
      out.add("<span class=tag title=\"the token that the prompt continues with\">given</span>");
    }
    out.add(
        "<svg class=p viewBox=\"0 0 60 8\" preserveAspectRatio=none aria-hidden=true><rect "
        "class=series0 width={} "
        "height=8 /></svg><span class=n>{}</span></li>",
        kBar * share, format_percent(share));
  }
  return out.add("</ol></div>\n");
}

Markup numbers_of(const Evidence& card) {
  Markup out;
  const auto add = [&out](std::string_view name, const std::string& value) {
    out.add("<div><dt>{}</dt><dd>{}</dd></div>", name, value);
  };
  if (card.kl) {
    add("KL", format_value(card.kl, "nat"));
  }
  if (card.delta_nll) {
    add("change of NLL", format_value(card.delta_nll, "nat"));
  }
  if (card.margin) {
    add("margin", format_value(card.margin, "logit"));
  }
  if (card.first_layer) {
    add("begins at", place_text(*card.first_layer));
  }
  return out;
}

Markup evidence_card(const Evidence& card) {
  Markup out;
  out.add("<article class=evidence><h3>{} <span class=faint>{}</span></h3>", card.why,
          place_text(Place{card.prompt, card.position, std::nullopt}));
  out.add("<dl class=pair-of>{}</dl>\n", numbers_of(card));
  if (!card.context.empty()) {
    out.add("<blockquote>{}", context_text(card.context));
    if (!card.target.empty()) {
      out.add("<mark>{}</mark>", card.target);
    }
    out.add("</blockquote>\n");
  }
  out.add("<div class=lanes>");
  for (const LaneTop& lane : card.top) {
    out += lane_list(lane, card);
  }
  return out.add("</div></article>\n");
}

}  // namespace

Markup examples_section(const Report& report) {
  const Comparison* comparison = main_comparison(report);
  if (comparison == nullptr || comparison->evidence.empty()) {
    return {};
  }
  Markup out;
  out.add(
      "<p class=intro>The rows most worth looking at, with the most likely tokens of each lane. "
      "Marked: the token that the prompt itself continues with.</p>\n<div class=cards-wide>\n");
  for (const Evidence& card : comparison->evidence) {
    out += evidence_card(card);
  }
  return out.add("</div>\n");
}

}  // namespace mg::html
