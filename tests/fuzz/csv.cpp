#include <cmath>
#include <stdexcept>
#include <xtgrad/datasets/csv.hpp>

#include "target.hpp"

std::vector<std::pair<std::string, std::string>> make_seeds() {
  return {{"plain.csv", "1,2,0\n3,4.5,1\n"},
          {"header.csv", "a,\"b \"\"x\"\"\",label\r\n1e-3,-2.25,0\r\n\r\n+.5, 7 ,2\r\n"},
          {"quoted.csv", "\xef\xbb\xbf\"1\",\"2\"\r\"3\",\"4\"\r"}};
}

bool read_as_file(const std::string& content) try {
  const xtgrad::Csv table = xtgrad::parse_csv(content, "file");
  promise(table.rows > 0 && table.columns > 0, "a table has rows and columns");
  promise(table.values.size() == table.rows * table.columns, "every row is whole");
  promise(table.header.empty() || table.header.size() == table.columns, "a header has a name for each column");
  for (const double value : table.values) promise(std::isfinite(value), "every value is finite");
  return true;
} catch (const std::runtime_error& error) {
  promise(std::string(error.what()).starts_with("file: "), "an error names the file");
  return false;
}
