#include "harness/io/tokenizer/unicode_forms.h"

#include <utf8proc.h>

#include <array>
#include <cstdlib>
#include <memory>

#include "harness/io/tokenizer/unicode.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

bool is_ascii(char c) {
  return static_cast<unsigned char>(c) < 0x80;
}

struct Free {
  void operator()(utf8proc_uint8_t* pointer) const { std::free(pointer); }
};

std::string form_of(std::string_view text, UnicodeForm form) {
  int options = UTF8PROC_STABLE;
  options |= form == UnicodeForm::kNfc || form == UnicodeForm::kNfkc ? UTF8PROC_COMPOSE
                                                                     : UTF8PROC_DECOMPOSE;
  options |= form == UnicodeForm::kNfkc || form == UnicodeForm::kNfkd ? UTF8PROC_COMPAT : 0;
  utf8proc_uint8_t* out = nullptr;
  const auto* bytes = static_cast<const utf8proc_uint8_t*>(static_cast<const void*>(text.data()));
  const utf8proc_ssize_t size = utf8proc_map(bytes, static_cast<utf8proc_ssize_t>(text.size()),
                                             &out, static_cast<utf8proc_option_t>(options));
  const std::unique_ptr<utf8proc_uint8_t, Free> owner(out);
  MG_CHECK(size >= 0, utf8proc_errmsg(size));
  const auto* chars = static_cast<const char*>(static_cast<const void*>(out));
  return {chars, static_cast<std::size_t>(size)};
}

// What no normalisation changes and nothing joins: strangers, and U+11A7, a vowel that composes
// with nothing.  utf8proc 2.8 takes it for the trailing consonant number 0 of the syllable before
// it and drops it; the numbers begin at 1 (Unicode 15, section 3.12, TBase).
bool stands_alone(char32_t c) {
  return c == 0x11A7 || in_ranges(normaliser_strangers(), c);
}

// A unit is what is normalised by itself: it begins with an ASCII character (no ASCII character
// ever joins what stands before it) or stands alone.
class Units {
 public:
  Units(std::string_view text, UnicodeForm form) : text_(text), form_(form) {}

  bool next() {
    begin_ = end_;
    if (begin_ >= text_.size()) {
      return false;
    }
    const CodePoint first = code_point_at(text_, begin_);
    end_ = begin_ + first.bytes;
    fixed_ = false;
    if (stands_alone(first.value)) {
      fixed_ = true;
      return true;
    }
    bool inert = first.value < 0x80 || is_nfc_inert(first.value);
    while (end_ < text_.size() && !is_ascii(text_[end_])) {
      const CodePoint c = code_point_at(text_, end_);
      const bool c_inert = is_nfc_inert(c.value);
      if (!c_inert && stands_alone(c.value)) {
        break;
      }
      inert = inert && c_inert;
      end_ += c.bytes;
    }
    fixed_ = (first.value < 0x80 && end_ == begin_ + 1) || (inert && form_ == UnicodeForm::kNfc);
    return true;
  }

  std::size_t begin() const { return begin_; }
  std::size_t end() const { return end_; }
  bool fixed() const { return fixed_; }  // surely the same after normalisation
  std::string_view text() const { return text_.substr(begin_, end_ - begin_); }

 private:
  std::string_view text_;
  UnicodeForm form_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  bool fixed_ = false;
};

}  // namespace

bool is_nfc_inert(char32_t c) {
  // Letters, ideographs, syllables and symbols without composition exclusions (Unicode,
  // DerivedNormalizationProps: NFC_QC=Yes, ccc=0); the test compares with utf8proc.
  static constexpr std::array<CodePointRange, 14> kInert = {{{0x00, 0x2FF},
                                                             {0x400, 0x482},
                                                             {0x48A, 0x52F},
                                                             {0x5D0, 0x5EA},
                                                             {0x620, 0x64A},
                                                             {0x904, 0x939},
                                                             {0xE01, 0xE33},
                                                             {0x2010, 0x205E},
                                                             {0x2190, 0x2328},
                                                             {0x3001, 0x3029},
                                                             {0x3041, 0x3096},
                                                             {0x30A1, 0x30FF},
                                                             {0x4E00, 0x9FFF},
                                                             {0xAC00, 0xD7A3}}};
  return c < 0x300 || in_ranges(kInert, c) || (c >= 0x1F300 && c <= 0x1FAFF);
}

void apply_form(AlignedText& text, UnicodeForm form) {
  const std::string& source = text.text();
  TextRewrite rewrite(text);
  bool changed = false;
  std::size_t kept = 0;  // everything before is in the rewrite
  for (Units units(source, form); units.next();) {
    if (units.fixed()) {
      continue;
    }
    const std::string form_text = form_of(units.text(), form);
    if (form_text != units.text()) {
      rewrite.keep(kept, units.begin());
      rewrite.replace(units.begin(), units.end(), form_text);
      kept = units.end();
      changed = true;
    }
  }
  if (changed) {
    rewrite.keep(kept, source.size());
    rewrite.commit();
  }
}

}  // namespace mg
