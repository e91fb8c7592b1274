#include "apps/report/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string_view>

namespace mbs {
namespace {

Display::Mode choose_mode(const std::string& mode, std::FILE* stream) {
  if (mode == "bar") return Display::Mode::bar;
  if (mode == "plain") return Display::Mode::plain;
  if (mode == "none") return Display::Mode::none;
  const char* terminal = std::getenv("TERM");
  const bool capable = terminal != nullptr && std::string_view(terminal) != "dumb";
  return capable && ::isatty(::fileno(stream)) != 0 ? Display::Mode::bar : Display::Mode::plain;
}

int terminal_width(std::FILE* stream) {
  winsize size{};
  if (::ioctl(::fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

}  // namespace

std::string bar(double share, int width) {
  const auto done = static_cast<int>(std::lround(std::clamp(share, 0., 1.) * width));
  return "[" + std::string(static_cast<size_t>(done), '#') +
         std::string(static_cast<size_t>(width - done), '.') + "]";
}

Display::Display(const std::string& mode, std::FILE* stream)
    : mode_(choose_mode(mode, stream)), stream_(stream) {}

void Display::line(const std::string& text) {
  clear();
  fmt::print(stream_, "{}\n", text);
  std::fflush(stream_);
}

void Display::row(const std::string& text) {
  if (mode_ != Mode::none) line(text);
}

void Display::status(double share, const std::string& before, const std::string& after) {
  if (mode_ != Mode::bar || (shown_ && since_shown_.seconds() < 0.1)) return;
  const int width = terminal_width(stream_) - 1;
  const int room = width - static_cast<int>(before.size() + after.size()) - 4;
  std::string text = before + " " + (room >= 4 ? bar(share, std::min(room, 30)) + " " : "") + after;
  text.resize(std::min(text.size(), static_cast<size_t>(std::max(width, 1))));
  fmt::print(stream_, "\r{}\x1b[K", text);
  std::fflush(stream_);
  shown_ = true;
  since_shown_.restart();
}

void Display::clear() {
  if (!shown_) return;
  fmt::print(stream_, "\r\x1b[K");
  std::fflush(stream_);
  shown_ = false;
}

}  // namespace mbs
