// Aligned text tables for the results that the examples print.
//
//     kit::Table table({"optimizer", "loss", "accuracy"});
//     table.add({"sgd", "0.31", "91.2%"});       optimizer  loss  accuracy
//     table.add({"adam", "0.09", "97.5%"});      ---------  ----  --------
//     fmt::print("{}", table.text());            sgd        0.31     91.2%
//                                                adam       0.09     97.5%
//
// A column of numbers is aligned to the right. Cells are ASCII: their width is their number of bytes.
#pragma once

#include <string>
#include <vector>

namespace kit {

class Table {
 public:
  explicit Table(std::vector<std::string> headers);

  /// One cell per header, or std::invalid_argument.
  void add(std::vector<std::string> row);

  /// The table, each line ended by a newline and free of trailing spaces.
  std::string text() const;

 private:
  std::vector<std::string> headers_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace kit
