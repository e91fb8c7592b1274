// `mbs data list|get|check`.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "apps/commands/command.h"
#include "apps/report/number_text.h"
#include "apps/report/progress.h"
#include "datasets/dataset.h"
#include "datasets/dataset_report.h"
#include "datasets/download.h"
#include "engine/check.h"

namespace mbs {
namespace {

struct DataOptions {
  std::string action, name, dir, file;
  int image_size = 0;
  bool json = false;
};

using Json = nlohmann::ordered_json;

int list(bool json) {
  Json array = Json::array();
  for (const DatasetInfo& info : known_datasets()) {
    DatasetOptions options;
    options.name = info.name;
    const std::string place = info.name == "folder" ? "" : locate_dataset(options).string();
    array.push_back({{"name", info.name},
                     {"description", info.description},
                     {"default_dir", info.default_dir},
                     {"found", place}});
    if (json) continue;
    fmt::print("{:<15}{}\n", info.name, info.description);
    if (!info.default_dir.empty())
      fmt::print("{:<15}{}\n", "", place.empty() ? "not here" : "here: " + place);
  }
  if (json) fmt::print("{}\n", array.dump(2));
  return 0;
}

Json part_json(const PartReport& part) {
  return {{"images", part.images},         {"class_counts", part.class_counts},
          {"mean", part.statistics.mean},  {"stddev", part.statistics.stddev},
          {"duplicates", part.duplicates}, {"contradictions", part.contradictions},
          {"bad_labels", part.bad_labels}};
}

void print_report(const std::string& source, const DatasetReport& report) {
  fmt::print("{}\n{}x{}x{} images\n\n", source, report.shape.h, report.shape.w, report.shape.c);
  Table table{{"class", "train", "test"}, {}};
  for (size_t c = 0; c < report.class_names.size(); ++c)
    table.rows.push_back({report.class_names[c], std::to_string(report.train.class_counts[c]),
                          std::to_string(report.test.class_counts[c])});
  table.rows.push_back({"all", std::to_string(report.train.images), std::to_string(report.test.images)});
  const auto row = [&](const char* name, const std::string& a, const std::string& b) {
    table.rows.push_back({name, a, b});
  };
  row("mean", decimals(report.train.statistics.mean), decimals(report.test.statistics.mean));
  row("deviation", decimals(report.train.statistics.stddev), decimals(report.test.statistics.stddev));
  row("duplicates", std::to_string(report.train.duplicates), std::to_string(report.test.duplicates));
  row("... of other label", std::to_string(report.train.contradictions),
      std::to_string(report.test.contradictions));
  row("in train and test", "", std::to_string(report.leaked));
  fmt::print("{}\n", to_text(table));
  for (const std::string& problem : report.problems) fmt::print("note: {}\n", problem);
  if (report.problems.empty()) fmt::print("nothing to complain about\n");
}

int check(const DataOptions& options) {
  const auto& known = known_datasets();
  const auto info =
      std::find_if(known.begin(), known.end(), [&](const DatasetInfo& i) { return i.name == options.name; });
  DatasetOptions which;
  which.name = options.name;
  which.dir = options.dir;
  which.image_size = options.image_size > 0 ? options.image_size
                     : info != known.end()  ? info->image_size
                                            : 32;
  Display display("auto", stderr);
  const DataSplits splits = load_dataset(which, [&](int64_t done, int64_t total) {
    display.status(static_cast<double>(done) / static_cast<double>(std::max<int64_t>(total, 1)),
                   "reading images", fmt::format("{} of {}", done, total));
  });
  display.clear();
  const DatasetReport report = check_dataset(splits);
  const bool bad = report.train.bad_labels + report.test.bad_labels > 0;
  if (options.json) {
    const Json json{{"source", splits.train.source},  {"height", report.shape.h},
                    {"width", report.shape.w},        {"channels", report.shape.c},
                    {"classes", report.class_names},  {"train", part_json(report.train)},
                    {"test", part_json(report.test)}, {"in_train_and_test", report.leaked},
                    {"notes", splits.notes},          {"problems", report.problems}};
    fmt::print("{}\n", json.dump(2));
    return bad ? 1 : 0;
  }
  for (const std::string& note : splits.notes) fmt::print("{}\n", note);
  print_report(splits.train.source, report);
  return bad ? 1 : 0;
}

int run_data(const DataOptions& options) {
  if (options.action == "list") return list(options.json);
  if (options.action == "check") return check(options);
  const auto path = get_dataset(options.name, options.dir, options.file);
  if (options.json)
    fmt::print("{}\n", Json{{"name", options.name}, {"path", path.string()}}.dump(2));
  else
    fmt::print("{} is at {}\n", options.name, path.string());
  return 0;
}

class DataCommand final : public Command {
  DataOptions o_;

  void declare(Parser& parser) override {
    parser({.names = "action", .help = "list, get or check", .required = true}, o_.action);
    parser({"name", "data set"}, o_.name);
    parser({"--data-dir", "where it is, or is to be put"}, o_.dir);
    parser({"--file", "get: a file of this machine instead of a download"}, o_.file);
    parser({"--image-size", "check: height and width that images are brought to; 0: the usual one", 0, 1024},
           o_.image_size);
    parser({"--json", "print JSON"}, o_.json);
  }

  void settle(const Parser&) override {
    if (o_.action != "list" && o_.action != "get" && o_.action != "check")
      fail_usage("mbs data does not know '{}'; it can list, get and check", o_.action);
    if (o_.action != "list" && o_.name.empty())
      fail_usage("mbs data {} needs the name of a data set (`mbs data list`)", o_.action);
  }

  int run() override { return run_data(o_); }
};

}  // namespace

COMMAND(data, DataCommand, "list, get and check data sets", "Lists, gets and checks data sets.",
        "  mbs data list\n  mbs data get cifar10\n  mbs data get cifar10 --file ~/cifar-10-binary.tar.gz\n"
        "  mbs data check fashion-mnist\n  mbs data check folder --data-dir my-images\n")

}  // namespace mbs
