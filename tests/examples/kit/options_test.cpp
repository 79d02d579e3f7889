#include "kit/options.hpp"

#include <fcntl.h>

#include <new>
#include <stdexcept>
#include <vector>

#include "kit/metrics_log.hpp"
#include "support.hpp"

namespace {

namespace fs = std::filesystem;
using kit::test::content;
using kit::test::in_child;
using kit::test::InFolder;

struct Outcome {
  int status;
  std::string out, err;
};

class RunMain : public InFolder {
 protected:
  /// Runs a program with --epochs, --seed, --lr and --momentum; its output goes to `stdout_path`, if given.
  Outcome run(
      std::vector<std::string> arguments, const std::function<void()>& body = [] {},
      const char* stdout_path = nullptr) {
    const fs::path out_path = folder_ / "out", err_path = folder_ / "err";
    const int out = open(stdout_path ? stdout_path : out_path.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600);
    const int err = open(err_path.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600);
    const int status = in_child(out, err, [&] { return program(std::move(arguments), body); });
    close(out);
    close(err);
    return {status, stdout_path ? "" : content(out_path), content(err_path)};
  }

  static int program(std::vector<std::string> arguments, const std::function<void()>& body) {
    CLI::App app{"Trains"};
    int epochs = 3;
    std::size_t seed = 0;
    double lr = 0.1, momentum = 0.9;
    std::string log;
    app.add_option("--log", log);
    app.add_option("--epochs", epochs, "passes over the data")->check(kit::whole())->capture_default_str();
    app.add_option("--seed", seed, "of the generator")->check(kit::whole(0, 99));
    app.add_option("--lr", lr, "step size")->check(kit::positive());
    app.add_option("--momentum", momentum, "of sgd")->check(kit::between(0, 1));
    arguments.insert(arguments.begin(), "/some/where/train_mlp");
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    return kit::run_main(app, static_cast<int>(arguments.size()), argv.data(), [&] {
      std::printf("epochs %d seed %zu lr %g momentum %g\n", epochs, seed, lr, momentum);
      body();
    });
  }

  void expect_refused(const std::vector<std::string>& arguments, const std::string& message) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.status, 2);
    EXPECT_EQ(outcome.out, "");
    EXPECT_EQ(outcome.err, "train_mlp: " + message + "; try --help\n");
  }
};

TEST_F(RunMain, ARunThatEndsWellReturns0) {
  const Outcome outcome = run({"--epochs", "7", "--seed", "0", "--lr=1e-3", "--momentum", "0"});
  EXPECT_EQ(outcome.status, 0);
  EXPECT_EQ(outcome.out, "epochs 7 seed 0 lr 0.001 momentum 0\n");
  EXPECT_EQ(outcome.err, "");
}

TEST_F(RunMain, HelpIsPrintedToStdoutAndReturns0) {
  const Outcome outcome = run({"--help"});
  EXPECT_EQ(outcome.status, 0);
  EXPECT_NE(outcome.out.find("Usage: train_mlp [OPTIONS]"), outcome.out.npos) << outcome.out;
  EXPECT_NE(outcome.out.find("--epochs"), outcome.out.npos) << outcome.out;
  EXPECT_EQ(outcome.err, "");
}

TEST_F(RunMain, BadOptionsReturn2WithOneLine) {
  for (const char* junk : {"3x", "0", "-1", "1.5", "", " 3", "010", "0x10", "nan", "99999999999999999999"})
    expect_refused({"--epochs", junk}, fmt::format("--epochs: \"{}\" is not a whole number of at least 1", junk));
  expect_refused({"--epochs", "3\n4"}, "--epochs: \"3 4\" is not a whole number of at least 1");
  expect_refused({"--epochs", "9999999999"}, "--epochs: \"9999999999\" is not a value of its type, or is out of range");
  expect_refused({"--epochs"}, "--epochs: its value is missing");
  expect_refused({"--seed", "-3"}, "--seed: \"-3\" is not a whole number from 0 to 99");
  for (const char* junk : {"nan", "inf", "0", "-1", "1e999", "x", "0x1p3", "1,5"})
    expect_refused({"--lr", junk}, fmt::format("--lr: \"{}\" is not a number above 0", junk));
  expect_refused({"--momentum", "1.5"}, "--momentum: \"1.5\" is not a number from 0 to 1");
  expect_refused({"--foo"}, "The following argument was not expected: --foo");
}

TEST_F(RunMain, ErrorsOfTheBodyReturn2WithOneLine) {
  const Outcome outcome = run({}, [] { throw std::runtime_error("a.csv: no\nsuch file\n"); });
  EXPECT_EQ(outcome.status, 2);
  EXPECT_EQ(outcome.err, "train_mlp: a.csv: no such file\n");
  EXPECT_EQ(run({}, [] { throw std::invalid_argument("linear: no"); }).err, "train_mlp: linear: no\n");
  EXPECT_EQ(run({}, [] { throw std::bad_alloc(); }).status, 2);
}

TEST_F(RunMain, AFullDiskUnderStdoutReturns2) {
  for (const bool in_help : {false, true}) {
    const Outcome outcome = run(
        in_help ? std::vector<std::string>{"--help"} : std::vector<std::string>{}, [] {}, "/dev/full");
    EXPECT_EQ(outcome.status, 2);
    EXPECT_EQ(outcome.err, "train_mlp: the output could not be written: No space left on device\n");
  }
}

TEST_F(RunMain, AClosedPipeReturns2AfterTheBodyHasEnded) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  close(ends[0]);
  const fs::path done = folder_ / "done";
  const int status = in_child(ends[1], open("/dev/null", O_WRONLY), [&] {
    return program({}, [&] {
      std::fflush(stdout);
      std::ofstream(done) << "done";
    });
  });
  close(ends[1]);
  EXPECT_EQ(status, 2);
  EXPECT_EQ(content(done), "done");
}

TEST_F(RunMain, AnEmptyValueIsRefusedBeforeTheBodyRuns) {
  const Outcome outcome = run({"--log", ""}, [] { std::puts("ran"); });
  EXPECT_EQ(outcome.status, 2);
  EXPECT_EQ(outcome.err, "train_mlp: --log: its value is empty; try --help\n");
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(run({"--log", "a"}).status, 0);
}

TEST_F(RunMain, AClosedStdoutReturns2AndSparesTheFilesOfTheBody) {
  const fs::path file = folder_ / "m.csv";
  const Outcome outcome = run({}, [] {});
  EXPECT_EQ(outcome.status, 0);
  const int status = in_child(STDOUT_FILENO, open("/dev/null", O_WRONLY), [&] {
    close(STDOUT_FILENO);
    return program({}, [&] { kit::MetricsLog(file, {"a"}).row(1); });
  });
  EXPECT_EQ(status, 2);
  EXPECT_EQ(content(file), "a\n1\n");
}

}  // namespace
