#include <gtest/gtest.h>

#include <random>

#include "harness/io/tokenizer/bpe_merges.h"
#include "harness/io/tokenizer/string_table.h"

namespace mg {
namespace {

bool same(const std::vector<Symbol>& a, const std::vector<Symbol>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Symbol& x, const Symbol& y) {
    return x.id == y.id && x.bytes == y.bytes;
  });
}

// The algorithm as its definition says it, one merge at a time over the whole word.
std::vector<Symbol> by_definition(const std::vector<std::array<std::int32_t, 3>>& merges,
                                  std::vector<Symbol> word) {
  while (true) {
    bool merged = false;
    for (const auto& [left, right, result] : merges) {  // first learnt first
      for (std::size_t i = 0; i + 1 < word.size(); ++i) {
        if (word[i].id == left && word[i + 1].id == right) {
          word[i] = {result, word[i].bytes + word[i + 1].bytes};
          word.erase(word.begin() + static_cast<std::ptrdiff_t>(i) + 1);
          merged = true;
          break;
        }
      }
      if (merged) {
        break;
      }
    }
    if (!merged) {
      return word;
    }
  }
}

TEST(BpeMerges, BothWaysEqualTheDefinition) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    BpeMerges table(4);
    std::vector<std::array<std::int32_t, 3>> merges;
    std::int32_t next_id = 4;
    for (std::uint32_t rank = 0; rank < 12; ++rank) {
      const auto pick = [&] {
        return static_cast<std::int32_t>(random() % static_cast<unsigned>(next_id));
      };
      const std::array<std::int32_t, 3> merge = {pick(), pick(), next_id};
      const bool known = std::any_of(merges.begin(), merges.end(), [&](const auto& old) {
        return old[0] == merge[0] && old[1] == merge[1];
      });
      if (!known) {
        merges.push_back(merge);
        table.add(merge[0], merge[1], rank, merge[2]);
        ++next_id;
      }
    }
    std::vector<Symbol> word(random() % 80);
    for (Symbol& symbol : word) {
      symbol = {static_cast<std::int32_t>(random() % 4), 1};
    }
    BpeMerges::Scratch scratch;
    std::vector<Symbol> scanned = word;
    std::vector<Symbol> heaped = word;
    table.apply_by_scanning(scanned, scratch);
    table.apply_by_heap(heaped, scratch);
    const std::vector<Symbol> expected = by_definition(merges, word);
    ASSERT_TRUE(same(scanned, expected)) << "round " << round;
    ASSERT_TRUE(same(heaped, expected)) << "round " << round;
  }
}

TEST(StringTable, FindsWhatWasSet) {
  StringTable table;
  for (std::uint32_t i = 0; i < 5000; ++i) {
    table.set("key" + std::to_string(i * 7), i);
  }
  table.set("key7", 99);
  EXPECT_EQ(table.size(), 5000U);
  EXPECT_EQ(table.find("key7"), 99U);
  EXPECT_EQ(table.find("key34993"), 4999U);
  EXPECT_EQ(table.find("key8"), std::nullopt);
  EXPECT_EQ(table.find(""), std::nullopt);
  table.set("", 5);
  EXPECT_EQ(table.find(""), 5U);
  table.clear();
  EXPECT_EQ(table.find("key7"), std::nullopt);
}

}  // namespace
}  // namespace mg
