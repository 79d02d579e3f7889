// train_mlp: trains an MLP on digits, images, points or a CSV file, with and without BatchNorm; train beside eval mode
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <memory>
#include <optional>
#include <xtgrad/batchnorm/check.hpp>
#include <xtgrad/batchnorm/layers.hpp>
#include <xtgrad/checkpoint/checkpoint.hpp>
#include <xtgrad/xtgrad.hpp>

#include "kit/data_sets.hpp"
#include "kit/interrupt.hpp"
#include "kit/metrics_log.hpp"
#include "kit/mlp.hpp"
#include "kit/options.hpp"
#include "kit/plot.hpp"
#include "kit/progress.hpp"
#include "kit/study.hpp"
#include "kit/table.hpp"

namespace {

using namespace xtgrad;

struct Options {
  std::string data = "digits", label;
  std::size_t epochs = 20;
  std::size_t batch_size = 32;
  std::vector<std::size_t> hidden = {64};
  double lr = 1e-2;
  std::string optimizer = "adam", schedule = "cosine";
  std::uint64_t seed = 0;
  int threads = 1;
  std::string plot, log, checkpoint;
  std::int64_t save_every = 0;  // steps; 0: epochs only
  bool resume = false;

  // What a run must have in common with the one that it goes on with.
  std::string settings(const Dataset<>& rows) const {
    std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a, of values and labels
    const auto add = [&hash](const auto& array) {
      const auto* const bytes = reinterpret_cast<const unsigned char*>(array.data());
      for (std::size_t i = 0; i < array.size() * sizeof(*array.data()); ++i) hash = (hash ^ bytes[i]) * 0x100000001b3;
    };
    add(rows.x.value());
    add(rows.y);
    return fmt::format(
        "--data {} (rows {:016x}) --epochs {} --batch-size {} --hidden {} --lr {} --optimizer {} --schedule {} --seed "
        "{}",
        data, hash, epochs, batch_size, fmt::join(hidden, ","), lr, optimizer, schedule, seed);
  }
};

// What the images need in place of the defaults: 12 times the pixels of the digits, 42 times the rows.
constexpr std::size_t kImageEpochs = 10, kImageBatch = 128, kImageHidden = 256;
constexpr double kImageLr = 2e-3;

// What one epoch left behind; accuracies are those of the held-out rows.
struct Epoch {
  float loss, train_mode_accuracy, eval_mode_accuracy, samples_per_second;
};

// A network with all that its training needs, and how far it has come.
struct Trainer {
  Trainer(const char* name, Sequential<> network, const Dataset<>& rows, const Options& o);

  // Where the checkpoint is; empty if there is none. That of the plain network has ".plain" in its name.
  std::filesystem::path checkpoint() const;
  Training<float> training();
  // Goes on with the checkpoint, if that is asked for and it is there. Throws if it may not be overwritten.
  void load();
  void save() {
    if (!options.checkpoint.empty()) save_checkpoint(checkpoint(), net, training());
  }
  Epoch epoch(std::size_t i) const {
    const float* const row = epochs.data() + 4 * i;
    return {row[0], row[1], row[2], row[3]};
  }

  const char* model;
  const Options& options;
  Sequential<> net;
  DataLoader<> loader;
  std::unique_ptr<Optimizer<float>> optimizer;
  Scheduler<> schedule;
  bool loaded = false;
  Tensor<> epochs;                            // (epochs, 4), a row for each that will be
  std::int64_t epochs_done = 0, samples = 0;  // the second of the epoch under way, as what follows
  double loss = 0, seconds = 0;
  std::string settings;
};

// The held-out rows with batch statistics, as a network in train mode sees them; no running statistic changes.
kit::Evaluation<float> evaluate_in_train_mode(Sequential<>& net, const Dataset<>& data, std::size_t batch_size) {
  net.train();
  const NormaliseWith guard(net, Statistics::batch);
  return kit::evaluate(net, data, batch_size);
}

kit::Evaluation<float> evaluate_in_eval_mode(Sequential<>& net, const Dataset<>& data, std::size_t batch_size) {
  net.eval();
  return kit::evaluate(net, data, batch_size);
}

std::unique_ptr<Optimizer<float>> make_optimizer(const Options& o, const std::vector<Tensor<>>& parameters) {
  if (o.optimizer == "sgd") return std::make_unique<SGD<>>(parameters, SGDOptions{.lr = o.lr, .momentum = 0.9});
  if (o.optimizer == "adamw") return std::make_unique<AdamW<>>(parameters, AdamWOptions{.lr = o.lr});
  if (o.optimizer == "rmsprop") return std::make_unique<RMSprop<>>(parameters, RMSpropOptions{.lr = o.lr});
  return std::make_unique<Adam<>>(parameters, AdamOptions{.lr = o.lr});
}

Trainer::Trainer(const char* name, Sequential<> network, const Dataset<>& rows, const Options& o)
    : model(name),
      options(o),
      net(std::move(network)),
      loader(rows, {.batch_size = o.batch_size, .shuffle = true, .min_batch = 2, .seed = o.seed}),
      optimizer(make_optimizer(o, net.parameters())),
      schedule(
          *optimizer, o.schedule == "cosine" ? cosine(static_cast<std::int64_t>(o.epochs * loader.batches()))
                                             : [](std::int64_t) { return 1.0; }),
      epochs(Tensor<>::zeros({o.epochs, 4})),
      settings(o.settings(rows)) {}

std::filesystem::path Trainer::checkpoint() const {
  std::filesystem::path path = options.checkpoint;
  if (model == std::string("plain")) path.replace_extension(".plain" + path.extension().string());
  return path;
}

Training<float> Trainer::training() {
  return {.optimizer = optimizer.get(),
          .schedule = &schedule,
          .loader = &loader,
          .more = {{"epochs", &epochs},
                   {"epochs_done", &epochs_done},
                   {"samples", &samples},
                   {"loss", &loss},
                   {"seconds", &seconds}},
          .settings = settings};
}

void Trainer::load() {
  const std::string path = checkpoint().string(), previous = name_of_previous(path).string();
  if (std::filesystem::exists(path)) {
    if (!options.resume) throw std::runtime_error(fmt::format("{} is there already; --resume goes on with it", path));
    load_checkpoint(path, net, training());
    if (epochs_done > static_cast<std::int64_t>(options.epochs))
      throw std::runtime_error(fmt::format("{}: {} of {} epochs are done", path, epochs_done, options.epochs));
    loaded = true;
  } else if (std::filesystem::exists(previous)) {
    throw std::runtime_error(fmt::format("{} is not there, but {}; rename it to go on with it", path, previous));
  }
}

// Saves, says how to go on, and ends the program with the status of one that the signal ended.
[[noreturn]] void end_interrupted(Trainer& t) {
  t.save();
  std::fflush(stdout);
  fmt::print(stderr, "interrupted: {} holds the run up to step {}; the same command with --resume goes on\n",
             t.checkpoint().string(), t.schedule.t());
  std::exit(128 + kit::interrupted());
}

void print(const Trainer& t, std::size_t epoch, kit::MetricsLog* log) {
  const Epoch e = t.epoch(epoch);
  fmt::print("{:<10} {:>5} {:>8.4f} {:>11.2f} % {:>10.2f} % {:>10.0f}\n", t.model, epoch + 1, e.loss,
             100 * e.train_mode_accuracy, 100 * e.eval_mode_accuracy, e.samples_per_second);
  std::fflush(stdout);
  if (log != nullptr)
    log->row(t.model, epoch + 1, e.loss, e.train_mode_accuracy, e.eval_mode_accuracy, e.samples_per_second);
}

// Trains, or goes on, and prints a line for each epoch, also for those that a run before this one has made.
void train(Trainer& t, const Dataset<>& test, kit::MetricsLog* log) {
  for (const Finding& f : check(t.net, t.loader, t.optimizer.get()))
    fmt::print("{}: {}; {}\n", f.layer, f.reason, f.remedy);
  if (!t.loaded) t.save();  // a place that cannot be written shows before the training
  for (std::size_t epoch = 0; epoch < static_cast<std::size_t>(t.epochs_done); ++epoch) print(t, epoch, log);

  for (auto epoch = static_cast<std::size_t>(t.epochs_done); epoch < t.options.epochs; ++epoch) {
    t.net.train();
    kit::Progress bar(fmt::format("{} epoch {}/{}", t.model, epoch + 1, t.options.epochs), t.loader.batches());
    auto start = std::chrono::steady_clock::now();
    // Interrupted after its last batch, an epoch has only its evaluation left.
    const bool has_batches = t.loader.next_epoch() == static_cast<std::int64_t>(epoch) + 1;
    if (has_batches)
      for (auto [x, y] : t.loader) {
        t.optimizer->zero_grad();
        const Tensor<> loss = cross_entropy(t.net(x), y);
        loss.backward();
        t.optimizer->step();
        t.schedule.step();
        t.loss += static_cast<double>(loss.item()) * static_cast<double>(y.size());
        t.samples += static_cast<std::int64_t>(y.size());
        bar.advance();
        t.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        if (kit::interrupted() != 0) {
          bar.clear();
          end_interrupted(t);
        }
        if (t.options.save_every > 0 && t.schedule.t() % t.options.save_every == 0) t.save();
        start = std::chrono::steady_clock::now();
      }
    bar.clear();

    const double rows = static_cast<double>(t.samples);
    const double results[] = {t.loss / rows, evaluate_in_train_mode(t.net, test, t.options.batch_size).accuracy,
                              evaluate_in_eval_mode(t.net, test, t.options.batch_size).accuracy, rows / t.seconds};
    for (std::size_t i = 0; i < 4; ++i) t.epochs.mutable_value()(epoch, i) = static_cast<float>(results[i]);
    ++t.epochs_done;
    t.loss = t.seconds = 0;
    t.samples = 0;
    t.save();
    print(t, epoch, log);
  }
}

// The same weights under running and under batch statistics.
void print_modes(Sequential<>& net, const Dataset<>& test) {
  const kit::Evaluation<float> running = evaluate_in_eval_mode(net, test, test.size());
  kit::Table table({"statistics", "batch size", "rows", "loss", "accuracy", "mean |dy|", "max |dy|"});
  const auto add = [&](const char* statistics, const std::string& batch_size, const kit::Evaluation<float>& e) {
    double sum = 0, largest = 0;
    for (std::size_t i = 0; i < e.logits.size(); ++i) {
      const double difference = std::abs(static_cast<double>(e.logits[i]) - static_cast<double>(running.logits[i]));
      sum += difference;
      largest = kit::worse(difference, largest);
    }
    table.add({statistics, batch_size, std::to_string(e.rows), fmt::format("{:.4f}", e.loss),
               fmt::format("{:.2f} %", 100 * e.accuracy),
               fmt::format("{:.4f}", sum / static_cast<double>(e.logits.size())), fmt::format("{:.4f}", largest)});
  };
  add("running (eval mode)", "any", running);
  for (const std::size_t size : {std::size_t{2}, std::size_t{8}, std::size_t{64}, test.size()})
    add("batch (train mode)", std::to_string(size), evaluate_in_train_mode(net, test, size));
  fmt::print("\nThe same weights on the held-out rows; dy is the difference of the outputs from eval mode:\n{}",
             table.text());
}

void save_plot(const Options& options, const Trainer& batchnorm, const Trainer& plain) {
  std::vector<double> epochs, train_mode, eval_mode, plain_accuracy;
  for (std::size_t i = 0; i < options.epochs; ++i) {
    epochs.push_back(static_cast<double>(i + 1));
    train_mode.push_back(100 * static_cast<double>(batchnorm.epoch(i).train_mode_accuracy));
    eval_mode.push_back(100 * static_cast<double>(batchnorm.epoch(i).eval_mode_accuracy));
    plain_accuracy.push_back(100 * static_cast<double>(plain.epoch(i).eval_mode_accuracy));
  }
  kit::Plot plot{.title = options.data + ": accuracy on held-out rows", .x_label = "epoch", .y_label = "accuracy (%)"};
  plot.add("BatchNorm, train mode", epochs, train_mode);
  plot.add("BatchNorm, eval mode", epochs, eval_mode);
  plot.add("plain network", epochs, plain_accuracy);
  plot.save(options.plot);
  fmt::print("plot: {}\n", options.plot);
}

void run(const Options& options) {
  if (!options.plot.empty()) kit::Plot::check(options.plot);
  set_num_threads(options.threads);
  const kit::DataSet set = kit::load_data_set(options.data, options.label, options.seed);
  const Split<float>& data = set.rows;

  std::vector<std::size_t> widths{set.columns()};
  widths.insert(widths.end(), options.hidden.begin(), options.hidden.end());
  widths.push_back(set.classes);
  manual_seed(options.seed);
  Trainer batchnorm("batchnorm", kit::make_mlp<float>(widths, BatchNorm1dOptions{}), data.train, options);
  manual_seed(options.seed);
  Trainer plain("plain", kit::make_mlp<float>(widths, std::nullopt), data.train, options);
  if (!options.checkpoint.empty()) {
    for (Trainer* t : {&batchnorm, &plain}) {
      if (!options.log.empty() && kit::same_file(t->checkpoint(), options.log))
        throw std::runtime_error(options.log + " cannot be log and checkpoint");
      t->load();
    }
    if (options.resume && !batchnorm.loaded) fmt::print("{} is not there yet: the run begins\n", options.checkpoint);
    kit::catch_interrupts();
  }
  std::optional<kit::MetricsLog> log;
  if (!options.log.empty())
    log.emplace(options.log, std::vector<std::string>{"model", "epoch", "loss", "train_mode_accuracy",
                                                      "eval_mode_accuracy", "samples_per_second"});

  fmt::print("{}: {} rows to train on, {} held out, {} classes; {}, lr {} ({}), batches of {}, seed {}\n", options.data,
             data.train.size(), data.test.size(), set.classes, options.optimizer, options.lr, options.schedule,
             options.batch_size, options.seed);
  fmt::print("\n{}\n", summary(batchnorm.net, {set.columns()}));
  fmt::print(
      "Accuracy on the held-out rows, train mode (batch statistics) beside eval mode (running "
      "statistics):\n");
  fmt::print("{:<10} {:>5} {:>8} {:>13} {:>12} {:>10}\n", "model", "epoch", "loss", "train mode", "eval mode",
             "samples/s");
  for (Trainer* t : {&batchnorm, &plain}) train(*t, data.test, log ? &*log : nullptr);
  print_modes(batchnorm.net, data.test);
  if (!options.plot.empty()) save_plot(options, batchnorm, plain);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Trains an MLP with and without BatchNorm, and evaluates it in both modes"};
  Options o;
  app.add_option("--data", o.data, "digits, fashion, mnist, moons, spirals, or FILE.csv")->capture_default_str();
  app.add_option("--label", o.label, "the column of labels in FILE.csv: its name or its index from 0 [the last]");
  auto* epochs =
      app.add_option("--epochs", o.epochs, "passes over the data [images: 10]")->check(kit::whole(1, 1000000));
  auto* batch_size =
      app.add_option("--batch-size", o.batch_size, "rows in a batch, at least 2 [images: 128]")->check(kit::whole(2));
  auto* hidden = app.add_option("--hidden", o.hidden, "widths of the hidden layers, as in 100,100 [images: 256,256]")
                     ->delimiter(',')
                     ->check(kit::whole(1, 1 << 16));
  auto* lr = app.add_option("--lr", o.lr, "learning rate [images: 0.002]")->check(kit::positive());
  for (auto* option : {epochs, batch_size, hidden, lr}) option->capture_default_str();
  app.add_option("--optimizer", o.optimizer, "adam, adamw, rmsprop, or sgd with momentum 0.9")
      ->check(CLI::IsMember({"adam", "adamw", "rmsprop", "sgd"}))
      ->capture_default_str();
  app.add_option("--schedule", o.schedule, "of the learning rate, step by step: cosine down to 0, or constant")
      ->check(CLI::IsMember({"cosine", "constant"}))
      ->capture_default_str();
  app.add_option("--seed", o.seed, "of the split, the weights and the order of the rows")
      ->check(kit::whole(0))
      ->capture_default_str();
  app.add_option("--threads", o.threads, "threads in kernels")->check(kit::whole(1, 1024))->capture_default_str();
  app.add_option("--plot", o.plot, "draw accuracy by epoch into FILE.png or FILE.svg");
  app.add_option("--log", o.log, "write the lines of the epochs to FILE.csv or FILE.jsonl");
  auto* checkpoint =
      app.add_option("--checkpoint", o.checkpoint,
                     "keep the training in FILE.safetensors, that of the plain network in FILE.plain.safetensors");
  app.add_option("--save-every", o.save_every, "save after so many steps, beside the end of each epoch")
      ->check(kit::whole())
      ->needs(checkpoint);
  app.add_flag("--resume", o.resume, "go on with what the checkpoint holds")->needs(checkpoint);
  return kit::run_main(app, argc, argv, [&] {
    if (o.data == "fashion" || o.data == "mnist") {
      if (epochs->empty()) o.epochs = kImageEpochs;
      if (batch_size->empty()) o.batch_size = kImageBatch;
      if (hidden->empty()) o.hidden = {kImageHidden, kImageHidden};
      if (lr->empty()) o.lr = kImageLr;
    }
    run(o);
  });
}
