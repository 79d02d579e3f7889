#include "xtgrad/checkpoint/checkpoint.hpp"

#include <set>

#include "../../framework/checkpoint/files.hpp"
#include "../../framework/support.hpp"
#include "run.hpp"

namespace xtgrad {
namespace {

using test::content_of;
using test::error;
using test::expect_parts;
using test::TemporaryFolder;
using test::TrainingRun;
using test::values;

std::string text_of(TrainingRun& run) { return detail::to_checkpoint(run.net.state(), run.training()); }

void load(TrainingRun& run, const std::string& content) {
  detail::load_checkpoint(run.net.state(), run.training(), Safetensors::parse(content, "file"));
}

TEST(Checkpoint, HoldsEverythingUnderItsName) {
  TrainingRun run("adam");
  run.train_to(12);
  const Safetensors file = Safetensors::parse(text_of(run), "file");
  std::set<std::string> names;
  for (const Safetensors::Entry& tensor : file.tensors()) names.insert(tensor.name);
  for (const char* name : {"0.weight",
                           "0.bias",
                           "1.weight",
                           "1.bias",
                           "1.running_mean",
                           "1.running_var",
                           "1.num_batches_tracked",
                           "4.weight",
                           "optimizer.0.exp_avg",
                           "optimizer.0.exp_avg_sq",
                           "optimizer.0.step",
                           "optimizer.group.0.lr",
                           "training.schedule.t",
                           "training.schedule.group.0.base_lr",
                           "training.plateau.best",
                           "training.loader.epoch",
                           "training.loader.position",
                           "training.steps",
                           "training.loss",
                           "training.generator",
                           "training.loader.generator",
                           "training.noise"})
    EXPECT_EQ(names.count(name), 1U) << name;
  for (const char* key : {"training.settings", "training.optimizer", "training.kernels", "xtgrad.crc32"})
    EXPECT_EQ(file.metadata().count(key), 1U) << key;
}

TEST(Checkpoint, GoesOnAsIfNothingHadHappened) {
  for (const std::int64_t steps : {0, 1, 5, 9, 13}) {
    TrainingRun whole("sgd");
    whole.train_to(20);
    const std::string expected = text_of(whole);
    TrainingRun first("sgd");
    first.train_to(steps);
    const std::string half = text_of(first);
    TrainingRun second("sgd", 99);
    load(second, half);
    EXPECT_EQ(text_of(second), half);
    second.train_to(20);
    EXPECT_EQ(text_of(second), expected) << steps;
  }
}

TEST(Checkpoint, WithAScheduleAloneSetsTheRates) {
  const TemporaryFolder folder;
  const std::string path = folder.path("run.safetensors");
  Linear net(2, 1);
  SGD first(net.parameters(), {.lr = 1}), second(net.parameters(), {.lr = 1});
  Scheduler before(first, step_decay(1, 0.5)), after(second, step_decay(1, 0.5));
  before.step();
  before.step();
  save_checkpoint(path, net, {.schedule = &before});
  load_checkpoint(path, net, {.schedule = &after});
  EXPECT_EQ(second.lr(), 0.25);
}

TEST(Checkpoint, KeepsTheOneBefore) {
  const TemporaryFolder folder;
  const std::string path = folder.path("run.safetensors");
  TrainingRun run("sgd");
  run.train_to(1);
  const std::string first = text_of(run);
  save_checkpoint(path, run.net, run.training());
  run.train_to(2);
  save_checkpoint(path, run.net, run.training());
  EXPECT_EQ(content_of(path), text_of(run));
  EXPECT_EQ(content_of(path + ".previous"), first);
  EXPECT_EQ(folder.names(), (std::vector<std::string>{"run.safetensors", "run.safetensors.previous"}));
  load_checkpoint(path + ".previous", run.net, run.training());
  EXPECT_EQ(run.steps, 1);
}

TEST(Checkpoint, DetectsEveryFlippedByte) {
  TrainingRun run("sgd"), other("sgd", 99);
  run.train_to(3);
  const std::string content = text_of(run), before = text_of(other);
  for (std::size_t i = 0; i < content.size(); ++i) {
    std::string damaged = content;
    damaged[i] = static_cast<char>(damaged[i] ^ (i % 3 == 0 ? 0x20 : i % 3 == 1 ? 1 : 255));
    ASSERT_NE(error<std::runtime_error>([&] { load(other, damaged); }), "no error") << i;
  }
  EXPECT_EQ(text_of(other), before);
}

TEST(Checkpoint, DetectsEveryTruncation) {
  TrainingRun run("sgd"), other("sgd", 99);
  const std::string content = text_of(run), before = text_of(other);
  for (std::size_t size = 0; size < content.size(); size += 7)
    ASSERT_NE(error<std::runtime_error>([&] { load(other, content.substr(0, size)); }), "no error") << size;
  EXPECT_EQ(text_of(other), before);
}

// A checkpoint is refused as a whole: the model does not change where only the optimizer does not fit.
TEST(Checkpoint, OfAnotherRunIsRefusedAndNothingChanges) {
  TrainingRun run("adam"), sgd("sgd"), adamw("adamw"), settings("adam"), wider("adam");
  Linear<> more(1, 1);
  run.train_to(4);
  const std::string before = text_of(run);
  const auto is_refused = [&](const std::string& content, const std::vector<std::string>& parts) {
    expect_parts(error<std::runtime_error>([&] { load(run, content); }), parts);
    EXPECT_TRUE(text_of(run) == before);
  };
  is_refused(text_of(sgd), {"file: its optimizer is SGD, now it is Adam"});
  is_refused(text_of(adamw), {"file: its optimizer is AdamW, now it is Adam"});
  std::vector<StateEntry<float>> model = wider.net.state();
  for (const StateEntry<float>& entry : more.state()) model.push_back(entry);
  is_refused(detail::to_checkpoint(model, wider.training()), {"file: ", "weight is unexpected", "bias is unexpected"});
  Training<float> training = settings.training();
  training.settings = "net 5-8-3";
  is_refused(detail::to_checkpoint(settings.net.state(), training), {"'net 5-8-3'", "'net 4-8-3'"});
  training = settings.training();
  training.loader = nullptr;
  is_refused(detail::to_checkpoint(settings.net.state(), training), {"training.loader.epoch is missing"});
  DataLoader<> fewer(split(test::points(), 0.1, 1).train, {.batch_size = 8});
  training = settings.training();
  training.loader = &fewer;
  is_refused(detail::to_checkpoint(settings.net.state(), training), {"training.loader.rows is 63, expected 70"});
  is_refused(to_safetensors(settings.net.state_dict()), {"no training", "load_safetensors()"});
}

TEST(Checkpoint, RefusesANegativeRunningVariance) {
  TrainingRun run("sgd");
  const std::string before = text_of(run);
  Sequential<> net = TrainingRun::make_net(3);
  for (StateEntry<float>& entry : net.state())
    if (entry.name == "1.running_var") std::get<Tensor<>*>(entry.place)->mutable_value()(0) = -1;
  TrainingRun wrong("sgd");
  const std::string content = detail::to_checkpoint(net.state(), wrong.training());
  expect_parts(error<std::runtime_error>([&] { load(run, content); }), {"1.running_var holds -1"});
}

TEST(Checkpoint, GivesItsWeightsToAModel) {
  const TemporaryFolder folder;
  const std::string path = folder.path("run.safetensors");
  TrainingRun run("adam");
  run.train_to(3);
  save_checkpoint(path, run.net, run.training());
  Sequential<> net = TrainingRun::make_net(5);
  load_safetensors(path, net);
  EXPECT_EQ(to_safetensors(net.state_dict()), to_safetensors(run.net.state_dict()));
}

TEST(Checkpoint, PointsToTheOneBeforeWhereItIsDamaged) {
  const TemporaryFolder folder;
  const std::string path = folder.write("run", "damaged");
  TrainingRun run("sgd");
  EXPECT_EQ(error<std::runtime_error>([&] { load_checkpoint(path, run.net, run.training()); }),
            path + ": it has 7 bytes, and the length of a safetensors header takes 8");
  folder.write("run.previous", "");
  expect_parts(error<std::runtime_error>([&] { load_checkpoint(path, run.net, run.training()); }),
               {"it has 7 bytes", "to go on from the checkpoint before it, rename " + path + ".previous to " + path});
}

TEST(Checkpoint, HasTheChecksumOfTheStandard) {
  TrainingRun run("sgd");
  const std::string content = text_of(run);
  EXPECT_EQ(test::with_checksum(content), content);
}

TEST(Checkpoint, WarnsWhereTheKernelsAreOthers) {
  TrainingRun run("sgd");
  std::string content = text_of(run), warning;
  const WarningHandler before = set_warning_handler([&](const std::string& text) { warning = text; });
  load(run, content);
  EXPECT_EQ(warning, "");
  const std::string key = R"("training.kernels":")";
  content[content.find(key) + key.size()] = '?';
  load(run, test::with_checksum(content));
  expect_parts(warning, {"file: ", "kernels for ?", "the last bits may differ"});
  set_warning_handler(before);
}

TEST(Checkpoint, RefusesAModelThatTakesTheNamesOfTheTraining) {
  Tensor<> weight{1};
  for (const char* name : {"optimizer.weight", "training.weight"})
    expect_parts(error([&] { detail::to_checkpoint<float>({{name, &weight}}, {}); }), {name, "rename"});
}

}  // namespace
}  // namespace xtgrad
