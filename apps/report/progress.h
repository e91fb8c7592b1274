// What is on the screen while something runs: one refreshed line on a terminal, plain lines elsewhere.
#pragma once

#include <cstdio>
#include <string>

#include "apps/system/stopwatch.h"

namespace mbs {

/// Writes to one stream. Escape sequences are used in bar mode only, colours never.
class Display {
 public:
  enum class Mode { bar, plain, none };

  /// `mode`: auto, bar, plain or none. auto: bar if the stream is a terminal that can do it, plain elsewhere.
  Display(const std::string& mode, std::FILE* stream);
  ~Display() { clear(); }
  Display(const Display&) = delete;
  Display& operator=(const Display&) = delete;

  Mode mode() const { return mode_; }
  /// A line that stays, in every mode.
  void line(const std::string& text);
  /// A line that stays, unless the mode is none.
  void row(const std::string& text);
  /// Bar mode: refreshes the last line, cut to the terminal's width, at most ten times a second.
  void status(double share, const std::string& before, const std::string& after);
  /// Removes the refreshed line.
  void clear();

 private:
  Mode mode_;
  std::FILE* stream_;
  bool shown_ = false;
  Stopwatch since_shown_;
};

/// "[#####.....]" with `width` marks.
std::string bar(double share, int width);

}  // namespace mbs
