// Every op, forward and backward, at a small and at a large size; optimizers, per element; loaders.
#include <benchmark/benchmark.h>

#include <functional>
#include <xtgrad/datasets/csv.hpp>
#include <xtgrad/datasets/idx.hpp>
#include <xtgrad/xtgrad.hpp>

#include "side.hpp"

namespace {

using namespace xtgrad;

// What an op is given: x and y (N, C) in (0, 1), a square matrix, a row, and a label for each row.
struct Operands {
  std::size_t N, C;
  Tensor<> x, y, square, row;
  Labels labels;

  Operands(std::size_t rows, std::size_t columns) : N(rows), C(columns), labels(Labels::from_shape({rows})) {
    Generator generator(0);
    x = generator.uniform<float>({N, C}, 0.1, 0.9);
    y = generator.uniform<float>({N, C}, 0.1, 0.9);
    square = generator.uniform<float>({C, C}, -0.1, 0.1);
    row = generator.uniform<float>({C}, 0.1, 0.9);
    for (Tensor<>* t : {&x, &y, &square, &row}) t->requires_grad(true);
    for (std::size_t n = 0; n < N; ++n) labels(n) = static_cast<std::int64_t>(generator.below(std::min(N, C)));
  }
};

struct Op {
  const char* name;
  std::function<Tensor<>(const Operands&)> function;
};

const std::vector<Op> ops{
    {"add", [](const Operands& in) { return in.x + in.y; }},
    {"add_row", [](const Operands& in) { return in.x + in.row; }},
    {"sub", [](const Operands& in) { return in.x - in.y; }},
    {"mul", [](const Operands& in) { return in.x * in.y; }},
    {"div", [](const Operands& in) { return in.x / in.y; }},
    {"neg", [](const Operands& in) { return -in.x; }},
    {"pow", [](const Operands& in) { return pow(in.x, in.y); }},
    {"exp", [](const Operands& in) { return exp(in.x); }},
    {"log", [](const Operands& in) { return log(in.x); }},
    {"sqrt", [](const Operands& in) { return sqrt(in.x); }},
    {"abs", [](const Operands& in) { return abs(in.x); }},
    {"erf", [](const Operands& in) { return erf(in.x); }},
    {"maximum", [](const Operands& in) { return maximum(in.x, in.y); }},
    {"minimum", [](const Operands& in) { return minimum(in.x, in.y); }},
    {"clamp", [](const Operands& in) { return clamp(in.x, 0.2, 0.8); }},
    {"where", [](const Operands& in) { return where(in.x > in.y, in.x, in.y); }},
    {"relu", [](const Operands& in) { return relu(in.x); }},
    {"leaky_relu", [](const Operands& in) { return leaky_relu(in.x); }},
    {"tanh", [](const Operands& in) { return tanh(in.x); }},
    {"sigmoid", [](const Operands& in) { return sigmoid(in.x); }},
    {"gelu", [](const Operands& in) { return gelu(in.x); }},
    {"softplus", [](const Operands& in) { return softplus(in.x); }},
    {"sum", [](const Operands& in) { return sum(in.x); }},
    {"sum_rows", [](const Operands& in) { return sum(in.x, {0}); }},
    {"mean", [](const Operands& in) { return mean(in.x); }},
    {"var", [](const Operands& in) { return var(in.x, {0}); }},
    {"max", [](const Operands& in) { return max(in.x, {1}); }},
    {"reshape",
     [](const Operands& in) {
       return reshape(in.x, {in.C, in.N});
     }},
    {"transpose", [](const Operands& in) { return transpose(in.x); }},
    {"slice", [](const Operands& in) { return slice(in.x, 1, 0, in.C / 2); }},
    {"concat",
     [](const Operands& in) {
       return concat({in.x, in.y}, 1);
     }},
    {"gather", [](const Operands& in) { return gather(in.x, in.labels); }},
    {"scatter_add", [](const Operands& in) { return scatter_add(in.x, in.labels, in.N); }},
    {"matmul", [](const Operands& in) { return matmul(in.x, in.square); }},
    {"linear", [](const Operands& in) { return linear(in.x, in.square, in.row); }},
    {"softmax", [](const Operands& in) { return softmax(in.x); }},
    {"log_softmax", [](const Operands& in) { return log_softmax(in.x); }},
    {"layer_norm", [](const Operands& in) { return layer_norm(in.x, in.row, in.row, 1e-5); }},
    {"dropout", [](const Operands& in) { return dropout(in.x, 0.5); }},
    {"batch_norm", [](const Operands& in) { return batch_norm(in.x, in.row, in.row, 1e-5).y; }},
    {"cross_entropy", [](const Operands& in) { return cross_entropy(in.x, in.labels); }},
    {"mse", [](const Operands& in) { return mse(in.x, in.y); }},
    {"bce_with_logits", [](const Operands& in) { return bce_with_logits(in.x, in.y); }},
};

void forward_and_backward(benchmark::State& state, const Op& op, std::size_t N, std::size_t C) {
  Operands in(N, C);
  const Tensor<> seed = Tensor<>::ones(op.function(in).shape());
  for (auto _ : state) {
    for (Tensor<>* t : {&in.x, &in.y, &in.square, &in.row}) t->zero_grad();
    op.function(in).backward(seed);
  }
  state.counters["per_element"] = benchmarks::per_item(N * C);
}

// `count` parameters of `size` elements each.
template <class Optimizer> void step(benchmark::State& state, std::size_t count, std::size_t size) {
  std::vector<Tensor<>> parameters;
  for (std::size_t i = 0; i < count; ++i) {
    parameters.push_back(Tensor<>::randn({size}).requires_grad(true));
    mean(parameters.back()).backward();
  }
  Optimizer optimizer(parameters);
  for (auto _ : state) optimizer.step();
  state.counters["per_element"] = benchmarks::per_item(count * size);
}

template <class Optimizer> void add_optimizer(const std::string& name) {
  for (const auto& [count, size] : {std::pair<std::size_t, std::size_t>{100, 100}, {1, 1000000}})
    benchmark::RegisterBenchmark(fmt::format("optimizer/{}/{}x{}", name, count, size).c_str(), step<Optimizer>, count,
                                 size)
        ->Unit(benchmark::kMicrosecond);
}

// An epoch of batches of 32.
void epoch(benchmark::State& state, bool shuffle) {
  const std::size_t rows = 10000;
  DataLoader loader(Dataset<>{Tensor<>::randn({rows, 64}), full_array<std::int64_t>({rows}, 0)},
                    {.batch_size = 32, .shuffle = shuffle});
  for (auto _ : state)
    for (auto [x, y] : loader) benchmark::DoNotOptimize(x.data());
  state.counters["per_row"] = benchmarks::per_item(rows);
}

// The 60000 gzipped training images of Fashion-MNIST, from the file to x (60000, 784) and labels.
void fashion(benchmark::State& state) {
  const std::filesystem::path folder = "/usr/share/datasets/fashion-mnist";
  if (!std::filesystem::exists(folder)) {
    state.SkipWithError("Debian's dataset-fashion-mnist is not installed");
    return;
  }
  for (auto _ : state)
    benchmark::DoNotOptimize(load_idx(folder / "train-images-idx3-ubyte.gz", folder / "train-labels-idx1-ubyte.gz"));
}

void digits(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(load_csv(XTGRAD_DIGITS));
}

}  // namespace

int main(int argc, char** argv) {
  for (const auto& [N, C] : {std::pair<std::size_t, std::size_t>{32, 16}, {512, 1024}})
    for (const Op& op : ops)
      benchmark::RegisterBenchmark(fmt::format("{}/{}x{}", op.name, N, C).c_str(), forward_and_backward, op, N, C)
          ->Unit(benchmark::kMicrosecond);
  add_optimizer<SGD<>>("sgd");
  add_optimizer<Adam<>>("adam");
  add_optimizer<AdamW<>>("adamw");
  add_optimizer<RMSprop<>>("rmsprop");
  benchmark::RegisterBenchmark("loader/in_order", epoch, false)->Unit(benchmark::kMicrosecond);
  benchmark::RegisterBenchmark("loader/shuffled", epoch, true)->Unit(benchmark::kMicrosecond);
  benchmark::RegisterBenchmark("load_csv/digits", digits)->Unit(benchmark::kMillisecond);
  benchmark::RegisterBenchmark("load_idx/fashion", fashion)->Unit(benchmark::kMillisecond);
  return benchmarks::run_benchmarks(argc, argv);
}
