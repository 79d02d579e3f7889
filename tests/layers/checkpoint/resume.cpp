// resume OPTIMIZER FROM END TO: a training run from the checkpoint FROM ("-": from its beginning) up to step END, saved
// as the checkpoint TO.
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "run.hpp"

int main(int, char** argv) try {
  const std::string from = argv[2];
  // A run that goes on begins with other values everywhere, so that what is not loaded shows.
  xtgrad::test::TrainingRun run(argv[1], from == "-" ? 1 : 99);
  if (from != "-") xtgrad::load_checkpoint(from, run.net, run.training());
  run.train_to(std::atoi(argv[3]));
  xtgrad::save_checkpoint(argv[4], run.net, run.training());
} catch (const std::exception& error) {
  std::fprintf(stderr, "resume: %s\n", error.what());
  return 2;
}
