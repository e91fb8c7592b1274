// Words that people write for values: how they are compared, and the words of every closed set of values.
//
//   enum class Norm : uint8_t { group, batch };
//   constexpr auto words_of(Norm) { return EnumWords{"norm", "gn", "bn"}; }
//
// next to the enum is all that a set needs: word_of(Norm::batch) is "bn", parse_word<Norm>("GN") is
// Norm::group, and the command line, config files, JSON and help texts take the words from here.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/check.h"

namespace mbs {

/// Whether two words differ in nothing but capitals, hyphens and underscores: "CIFAR-10" and "cifar10".
bool same_word(std::string_view a, std::string_view b);

/// The name in `known` with the fewest edits from `word`; empty if none is near.
std::string nearest(const std::string& word, const std::vector<std::string>& known);
/// The same as part of a message: "; the nearest is NAME", or nothing.
std::string nearest_hint(const std::string& word, const std::vector<std::string>& known);

/// "a, b, c".
std::string comma_list(const std::vector<std::string>& words);

/// The words of a closed set of values, in the order of its enum, whose values count from 0.
template <size_t N>
struct EnumWords {
  const char* set;  ///< what the set is called in messages: "order"
  std::array<const char*, N> words;

  template <class... Word>
  constexpr explicit EnumWords(const char* name, Word... word) : set(name), words{word...} {}
};
template <class... Word>
EnumWords(const char*, Word...) -> EnumWords<sizeof...(Word)>;

/// An enum whose words are known.
template <class E>
concept Worded = requires {
  words_of(E{}).words;
};

/// How a value is written.
template <Worded E>
constexpr const char* word_of(E value) {
  return words_of(value).words[static_cast<size_t>(value)];
}

/// All values, in the order of the enum.
template <Worded E>
std::vector<E> all_values() {
  std::vector<E> values;
  for (size_t i = 0; i < words_of(E{}).words.size(); ++i) values.push_back(static_cast<E>(i));
  return values;
}

/// All words, in the order of the enum.
template <Worded E>
std::vector<std::string> all_words() {
  constexpr auto words = words_of(E{}).words;
  return {words.begin(), words.end()};
}

/// The value of a word, as same_word() compares; nothing: there is no such word.
template <Worded E>
std::optional<E> find_word(std::string_view word) {
  for (const E value : all_values<E>())
    if (same_word(word_of(value), word)) return value;
  return std::nullopt;
}

/// The value of a word. Error (usage): there is no such word; lists them.
template <Worded E>
E parse_word(std::string_view word) {
  if (const auto value = find_word<E>(word)) return *value;
  fail_usage("unknown {} '{}'; there are {}", words_of(E{}).set, word, comma_list(all_words<E>()));
}

}  // namespace mbs
