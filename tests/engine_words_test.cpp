// Words and the values that they stand for.
#include "engine/words.h"
#include "layers/kernels/kernel_set.h"
#include "mbs/order.h"
#include "tests/doctest.h"
#include "tests/helpers.h"

namespace mbs {
namespace {

enum class Fruit : uint8_t { apple, blood_orange };
constexpr auto words_of(Fruit) { return EnumWords{"fruit", "apple", "blood-orange"}; }

}  // namespace

TEST_CASE("words: capitals, hyphens and underscores do not tell two words apart") {
  EXPECT(same_word("CIFAR-10", "cifar10"));
  EXPECT(same_word("MBS_FS", "mbs-fs"));
  EXPECT(!same_word("mbs1", "mbs2"));
  EXPECT(!same_word("mbs", "mbs2"));
}

TEST_CASE("words: every value has a word that leads back to it, and an unknown one is told all") {
  EXPECT(all_words<Fruit>() == std::vector<std::string>{"apple", "blood-orange"});
  for (const Fruit fruit : all_values<Fruit>()) EXPECT(parse_word<Fruit>(word_of(fruit)) == fruit);
  EXPECT(parse_word<Fruit>("Blood_Orange") == Fruit::blood_orange);
  EXPECT(!find_word<Fruit>("pear"));
  EXPECT(has(error_of([] { parse_word<Fruit>("pear"); }),
             {"usage", "unknown fruit 'pear'", "apple, blood-orange"}));
  for (const KernelSet set : all_values<KernelSet>()) EXPECT(parse_word<KernelSet>(word_of(set)) == set);
  for (const Order order : all_values<Order>()) EXPECT(parse_word<Order>(word_of(order)) == order);
}

}  // namespace mbs
