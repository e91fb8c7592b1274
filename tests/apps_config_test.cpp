// Options, config files, recipes and the command line.
#include "apps/commands/command.h"
#include "apps/options/settings.h"
#include "apps/report/number_text.h"
#include "engine/check.h"
#include "engine/words.h"
#include "tests/doctest.h"
#include "tests/helpers.h"

namespace mbs {
namespace {

/// What `mbs train` makes of its flags, where these settings come from a recipe and a file.
TrainOptions train_options(const std::vector<std::string>& arguments,
                           const std::vector<Settings>& below = {}) {
  TrainOptions options;
  Parser parser("train", "", "");
  visit_train_options(options, parser);
  REQUIRE(parser.parse(arguments));
  for (const Settings& settings : below) apply_below_flags(parser, settings, options);
  return options;
}

std::string usage_error(const std::vector<std::string>& arguments) {
  return error_of([&] { parse_command_line(arguments); });
}

TEST_CASE("config: a file repeats every option") {
  TrainOptions options;
  options.experiment.arch = "resnet32";
  options.experiment.data_dir = "a # strange \"folder\\name\" = [1], 'x',\n\t\x01 \xc3\xa4";
  options.experiment.milestones = {3, 11, 40};
  options.experiment.lr = 0.1 + 0.2;  // no short decimal
  options.experiment.flip = false;
  options.experiment.seed = 1234567890123;
  options.experiment.weight_decay = 5e-4;
  options.log_interval = 7;

  TrainOptions back;
  apply_settings(parse_toml(to_toml(options, "comment"), "c.toml"), back);
  EXPECT(back.experiment.data_dir == options.experiment.data_dir);
  EXPECT(back.experiment.milestones == options.experiment.milestones);
  EXPECT(back.experiment.lr == options.experiment.lr);
  EXPECT(!back.experiment.flip);
  const Settings was = settings_of(options), is = settings_of(back);
  REQUIRE(was.size() == is.size());
  for (size_t i = 0; i < was.size(); ++i) {
    CAPTURE(was[i].key);
    EXPECT(was[i].value == is[i].value);
  }
}

TEST_CASE("config: what a file may look like") {
  const Settings settings = parse_toml(
      "# head\n\n  lr = 0.05   # tail\nweight_decay=1e-4\r\nmilestones = [ 1, 2 ]\nname = 'single \\ "
      "quotes'\nempty = []",
      "f");
  REQUIRE(settings.size() == 5);
  EXPECT(settings[0].value == "0.05");
  EXPECT(settings[0].where == "f:3");
  EXPECT(settings[1].key == "weight-decay");
  EXPECT(settings[2].value == "1,2");
  EXPECT(settings[3].value == "single \\ quotes");
  EXPECT(settings[4].value.empty());
}

TEST_CASE("config: what is wrong is named with file and line") {
  const auto toml_error = [](const char* text) {
    return error_of([&] {
      TrainOptions options;
      apply_settings(parse_toml(text, "f.toml"), options);
    });
  };
  EXPECT(has(toml_error("lr = 1\nepoch = 3"), {"usage", "f.toml:2", "'epoch'", "nearest is epochs"}));
  EXPECT(toml_error("qqqqqqqq = 1").ends_with("there is no option 'qqqqqqqq'"));
  EXPECT(has(toml_error("lr = 1\nlr = 2"), {"f.toml:2", "redefine", "'lr'"}));
  EXPECT(
      has(toml_error("weight-decay = 1\nweight_decay = 2"), {"f.toml:2", "'weight-decay' is given twice"}));
  EXPECT(has(toml_error("lr"), {"f.toml:1", "key = value"}));
  EXPECT(has(toml_error("lr = fast"), {"f.toml:1", "texts stand in quotes"}));
  EXPECT(has(toml_error("flip = true\nlr = 1 2"), {"f.toml:2", "saw '2'"}));
  EXPECT(has(toml_error("arch = \"resnet20"), {"f.toml:1", "string"}));
  EXPECT(has(toml_error("milestones = [1, 2"), {"f.toml:1", "array"}));
  EXPECT(has(toml_error("milestones = [[1], 2]"), {"f.toml:1", "list of lists"}));
  EXPECT(has(toml_error("[lr]\nlow = 0.1"), {"f.toml:1", "'lr' is not a number"}));
  EXPECT(has(toml_error("lr = 2020-01-01"), {"f.toml:1", "'lr' is not a number"}));
  EXPECT(has(toml_error("\xff = 1"), {"f.toml:1", "utf-8"}));
  EXPECT(has(toml_error("epochs = 1.5"), {"epochs = 1.5 is not a whole number"}));
  EXPECT(has(toml_error("flip = 1"), {"neither true nor false"}));
}

TEST_CASE("config: recipes are settings that exist, and are in range") {
  for (const char* name : {"he2016", "fast", "demo"}) {
    CAPTURE(name);
    TrainOptions options;
    apply_settings(recipe(name), options);
    visit_train_options(options, [](const OptionInfo& info, const auto& field) {
      using Field = std::decay_t<decltype(field)>;
      if constexpr (std::is_same_v<Field, std::string>)
        check_value(info, field);
      else if constexpr (std::is_arithmetic_v<Field> && !std::is_same_v<Field, bool>)
        check_value(info, static_cast<double>(field));
    });
  }
  // He et al.: 64,000 updates, to within an epoch; 45,000 / 128 = 351 whole batches an epoch.
  TrainOptions he;
  apply_settings(recipe("he2016"), he);
  EXPECT(std::abs(he.experiment.epochs * 351 - 64000) < 351);
  EXPECT(std::abs(he.experiment.milestones[0] * 351 - 32000) < 351);
  EXPECT(std::abs(he.experiment.milestones[1] * 351 - 48000) < 351);
  EXPECT(has(error_of([] { recipe("slow"); }), {"usage", "'slow'", "he2016, fast, demo"}));
}

TEST_CASE("sizes") {
  EXPECT(parse_bytes("10MiB") == int64_t{10} << 20);
  EXPECT(parse_bytes("512 KiB") == 512 << 10);
  EXPECT(parse_bytes("1.5GiB") == int64_t{3} << 29);
  EXPECT(parse_bytes("4096") == 4096);
  EXPECT(parse_bytes("4096B") == 4096);
  for (const char* bad : {"", "MiB", "10MB", "-1KiB", "0", "1e99", "nan", "10 10"}) {
    CAPTURE(bad);
    EXPECT(has(error_of([&] { parse_bytes(bad); }), {"usage", "10MiB"}));
  }
}

TEST_CASE("the nearest name") {
  EXPECT(nearest("epoch", {"arch", "epochs", "steps"}) == "epochs");
  EXPECT(nearest("bath-size", {"batch-size", "buffer"}) == "batch-size");
  EXPECT(nearest("qqqqqq", {"arch", "epochs"}).empty());
}

TEST_CASE("command line: flags override the config file, which overrides the recipe") {
  const TrainOptions options =
      train_options({"--epochs", "2", "--no-flip", "-b", "64", "--wd", "0.5"},
                    {recipe("fast"), parse_toml("lr = 0.3\nepochs = 5\nweight_decay = 7e-4", "c.toml")});
  EXPECT(options.experiment.epochs == 2);                // flag
  EXPECT(options.experiment.weight_decay == 0.5);        // another name of the flag
  EXPECT(options.experiment.lr == 0.3);                  // config
  EXPECT(options.experiment.lr_schedule == "onecycle");  // recipe
  EXPECT(!options.experiment.flip);
  EXPECT(options.experiment.batch_size == 64);
  EXPECT(options.experiment.dataset == "fashion-mnist");  // default
}

TEST_CASE("command line: lists, aliases and the last of equals") {
  const TrainOptions train = train_options(
      {"--model", "resnet8", "--milestones", "4,9", "--wd", "0.01", "-j", "3", "--lr", "1", "--lr", "2"});
  EXPECT(train.experiment.arch == "resnet8");
  EXPECT(train.experiment.milestones == std::vector<int>{4, 9});
  EXPECT(train.experiment.weight_decay == 0.01);
  EXPECT(train.experiment.threads == 3);
  EXPECT(train.experiment.lr == 2);

  std::string network;
  std::vector<std::string> orders = {"baseline"}, images;
  Parser parser("test", "", "");
  parser({"network,--arch", "network"}, network);
  parser({"--orders", "orders"}, orders);
  parser({.names = "images", .help = "files", .required = true}, images);
  EXPECT(has(parser.help(), {"--orders TEXT=[baseline]", "images TEXT ... REQUIRED"}));
  REQUIRE(parser.parse({"resnet50", "--orders", "mbs-fs,mbs1", "a,b.png", "c.png"}));
  EXPECT(network == "resnet50");
  EXPECT(orders == std::vector<std::string>{"mbs-fs", "mbs1"});
  EXPECT(images == std::vector<std::string>{"a,b.png", "c.png"});
  EXPECT(parser.given("--orders"));
  EXPECT(!parser.parse({"--help"}));
}

TEST_CASE("command line: a flag that may stand alone") {
  const auto resumed = [](const std::vector<std::string>& arguments) {
    std::string run;
    Parser parser("test", "", "");
    parser({.names = "--resume", .help = "run", .bare = "last"}, run);
    REQUIRE(parser.parse(arguments));
    return run;
  };
  EXPECT(resumed({}) == "");
  EXPECT(resumed({"--resume"}) == "last");
  EXPECT(resumed({"--resume", "a"}) == "a");
}

TEST_CASE("command line: what is wrong is named, with what to do") {
  EXPECT(has(usage_error({"train", "--epoch", "3"}), {"usage", "--epoch", "nearest is --epochs"}));
  EXPECT(has(usage_error({"train", "--bufer=1MiB"}), {"no option --bufer;", "--buffer"}));
  EXPECT(has(usage_error({"plan", "resnet20", "--lr", "1"}), {"mbs plan has no option --lr"}));
  EXPECT(has(usage_error({"trian"}), {"usage", "'trian'", "nearest is train"}));
  EXPECT(has(usage_error({"train", "stray"}), {"'stray'"}));
  EXPECT(has(usage_error({"train", "--epochs", "many"}), {"usage", "--epochs"}));
  EXPECT(has(usage_error({"train", "--epochs", "0"}), {"--epochs is 0", "between 1 and"}));
  EXPECT(has(usage_error({"train", "--val-share", "nan"}), {"--val-share"}));
  EXPECT(has(usage_error({"train", "--norm", "ln"}), {"--norm is 'ln'", "gn, bn"}));
  EXPECT(has(usage_error({"plan"}), {"usage", "network"}));
  EXPECT(has(usage_error({"eval", "x", "--split", "dev"}), {"test, val, train"}));
  EXPECT(has(usage_error({"data", "fetch", "cifar10"}), {"list, get and check"}));
  EXPECT(has(usage_error({"data", "get"}), {"name of a data set"}));
  EXPECT(has(usage_error({"compare", "--steps", "3", "--epochs", "1"}), {"not both"}));
  EXPECT(has(usage_error({"train", "--resume", "no-such-run"}), {"usage", "no run 'no-such-run'"}));
}

TEST_CASE("command line: every command explains itself, with examples") {
  for (const CommandEntry* entry : command_registry()) {
    CAPTURE(entry->name());
    const std::unique_ptr<Command> command = entry->make();
    const Parser parser = make_parser(*entry, *command);
    EXPECT(has(parser.help(), {"examples:", ("mbs " + entry->name()).c_str()}));
    EXPECT(std::string(entry->summary).size() < 100);
  }
}

TEST_CASE("tables as text and as CSV") {
  const Table table{{"name", "n"}, {{"a", "1"}, {"b,\"c\"", "234"}}};
  EXPECT(to_text(table) == "name     n\na        1\nb,\"c\"  234\n");
  EXPECT(to_csv(table) == "name,n\na,1\n\"b,\"\"c\"\"\",234\n");
  EXPECT(thousands(0) == "0");
  EXPECT(thousands(999) == "999");
  EXPECT(thousands(1234567) == "1,234,567");
  EXPECT(duration(3 * 3600 + 4 * 60 + 5) == "3:04:05");
  EXPECT(duration(59.6) == "1:00");
  EXPECT(binary_bytes(int64_t{10} << 20) == "10 MiB");
  EXPECT(decimal_bytes(1'234'000'000) == "1.23 GB");
}

}  // namespace
}  // namespace mbs
