#include "reports/html/shell.h"

#include <fmt/format.h>

#include "reports/digest.h"
#include "reports/html/assets.h"

namespace mg::html {

// Style and script are ours and stand as they are, named by their digests in the policy; everything
// else comes as Markup or is escaped.
std::string whole_page(std::string_view title, const Markup& body) {
  const std::string_view style = page_style();
  const std::string_view script = page_script();
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src '{}'; "
      "script-src '{}'; img-src data:; base-uri 'none'; form-action 'none'\">\n"
      "<meta name=viewport content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=generator content=\"mergegauge\">\n<link rel=icon href=\"data:,\">\n"
      "<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n"
      "<a class=skip href=\"#content\">Skip to the content</a>\n<main id=content>\n{}</main>\n"
      "<script>{}</script>\n</body>\n</html>\n",
      policy_digest(style), policy_digest(script), escape(title), style, body.text(), script);
}

}  // namespace mg::html
