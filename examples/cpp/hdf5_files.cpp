#include "hdf5_files.hpp"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

namespace fs = std::filesystem;

namespace {

using sdkit::DType;
using sdkit::FileFormatError;
using sdkit::Shape;
using sdkit::Tensor;

constexpr std::int64_t chunk_bytes = 1 << 20;

std::vector<hsize_t> extents(const Shape& shape) { return {shape.begin(), shape.end()}; }

std::int64_t product(const Shape& shape, std::size_t first_axis = 0) {
    return std::accumulate(shape.begin() + static_cast<std::ptrdiff_t>(first_axis), shape.end(), std::int64_t{1},
                           std::multiplies<>());
}

hid_t memory_type(DType dtype) { return dtype == DType::uint8 ? H5T_NATIVE_UINT8 : H5T_NATIVE_FLOAT; }

H5Handle space_of(const std::vector<hsize_t>& sizes, const hsize_t* limits = nullptr) {
    return {H5Screate_simple(static_cast<int>(sizes.size()), sizes.data(), limits), H5Sclose};
}

Shape shape_of(const H5Handle& dataset) {
    const H5Handle space(H5Dget_space(dataset.get()), H5Sclose);
    std::vector<hsize_t> sizes(static_cast<std::size_t>(std::max(0, H5Sget_simple_extent_ndims(space.get()))));
    H5Sget_simple_extent_dims(space.get(), sizes.data(), nullptr);
    return {sizes.begin(), sizes.end()};
}

// Selects rows first, first + 1, ... of a data set.
H5Handle select_rows(const H5Handle& dataset, std::int64_t first, const std::vector<hsize_t>& sizes) {
    H5Handle space(H5Dget_space(dataset.get()), H5Sclose);
    std::vector<hsize_t> start(sizes.size(), 0);
    start[0] = static_cast<hsize_t>(first);
    H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, start.data(), nullptr, sizes.data(), nullptr);
    return space;
}

H5Handle attribute_of(const H5Handle& file, const std::string& name) {
    if (H5Aexists(file.get(), name.c_str()) <= 0) return {};
    return {H5Aopen(file.get(), name.c_str(), H5P_DEFAULT), H5Aclose};
}

}  // namespace

SequenceFile::SequenceFile(fs::path path) : path_(std::move(path)) {
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);  // what fails is told by our own errors
    if (!fs::is_regular_file(path_)) {
        throw sdkit::MissingFileError(path_.string() + " does not exist; `sdkit data make` makes a data set");
    }
    file_ = {H5Fopen(path_.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose};
    if (!file_.valid()) throw FileFormatError(path_.string() + " is not an HDF5 file");
    data_ = dataset("data", "(N, T, *element)");
    shape_ = shape_of(data_);
    read_element();
    const std::string where = path_.string() + ": data set 'data'";
    if (count() < 1) throw sdkit::DataError(where + " is empty: it holds no sequence");
    if (steps() < 2) {
        throw sdkit::DataError(where + " has T = " + std::to_string(steps()) +
                               "; a sequence needs at least 2 elements: one is the anchor of the static code");
    }
    read_lengths();
}

H5Handle SequenceFile::dataset(const std::string& name, const std::string& wanted) const {
    const std::string where = path_.string();
    if (H5Lexists(file_.get(), name.c_str(), H5P_DEFAULT) <= 0) {
        throw FileFormatError(where + " has no data set '" + name + "' (expected " + wanted +
                              "); it holds: " + names());
    }
    H5L_info_t link;
    if (H5Lget_info(file_.get(), name.c_str(), &link, H5P_DEFAULT) < 0 || link.type == H5L_TYPE_EXTERNAL) {
        throw FileFormatError(where + ": data set '" + name + "' is a link into another file, which is not followed");
    }
    H5Handle found(H5Dopen2(file_.get(), name.c_str(), H5P_DEFAULT), H5Dclose);
    if (!found.valid()) throw FileFormatError(where + ": '" + name + "' is not a data set; expected " + wanted);
    return found;
}

std::string SequenceFile::names() const {
    H5G_info_t info{};
    H5Gget_info(file_.get(), &info);
    std::string joined;
    for (hsize_t i = 0; i < info.nlinks; ++i) {
        std::string name(static_cast<std::size_t>(H5Lget_name_by_idx(file_.get(), ".", H5_INDEX_NAME, H5_ITER_INC, i,
                                                                     nullptr, 0, H5P_DEFAULT)),
                         '\0');
        H5Lget_name_by_idx(file_.get(), ".", H5_INDEX_NAME, H5_ITER_INC, i, name.data(), name.size() + 1, H5P_DEFAULT);
        joined += (joined.empty() ? "" : ", ") + name;
    }
    return joined.empty() ? "none" : joined;
}

std::optional<std::string> SequenceFile::text(const std::string& name) const {
    const H5Handle attribute = attribute_of(file_, name);
    if (!attribute.valid()) return std::nullopt;
    const H5Handle type(H5Aget_type(attribute.get()), H5Tclose);
    if (H5Tget_class(type.get()) != H5T_STRING) return std::nullopt;
    if (H5Tis_variable_str(type.get()) > 0) {
        char* characters = nullptr;
        H5Aread(attribute.get(), type.get(), &characters);
        const std::string value = characters == nullptr ? "" : characters;
        H5free_memory(characters);
        return value;
    }
    std::string value(H5Tget_size(type.get()), '\0');
    H5Aread(attribute.get(), type.get(), value.data());
    return value.substr(0, value.find('\0'));
}

std::optional<double> SequenceFile::number(const std::string& name) const {
    const H5Handle attribute = attribute_of(file_, name);
    double value = 0;
    if (!attribute.valid() || H5Aread(attribute.get(), H5T_NATIVE_DOUBLE, &value) < 0) return std::nullopt;
    return value;
}

std::string SequenceFile::kind() const {
    const auto& kinds = sdkit::kinds();
    const std::string named = text("element").value_or("");
    std::vector<std::string> layouts;
    for (const auto& [name, kind] : kinds) {
        const bool fits = shape_.size() == 2 + kind.axes.size();
        if (fits && (named.empty() ? kind.presumed : named == name)) return name;
        std::string axes = "(N, T";
        for (const std::string& axis : kind.axes) axes += ", " + axis;
        layouts.push_back(axes + ") " + kind.plural);
    }
    std::string expected = layouts.front();
    for (std::size_t i = 1; i < layouts.size(); ++i) expected += (i + 1 < layouts.size() ? ", " : " or ") + layouts[i];
    throw FileFormatError(path_.string() + ": data set 'data' has shape " + sdkit::text(shape_) +
                          (named.empty() ? "" : " and holds elements of the kind '" + named + "'") + "; expected " +
                          expected);
}

void SequenceFile::read_element() {
    const std::string where = path_.string() + ": data set 'data' ";
    const std::optional<double> version = number("version");
    if (text("format") == "sdkit-sequences" && version != 1.0) {
        const std::string found = version ? std::to_string(static_cast<int>(*version)) : "None";
        throw FileFormatError(path_.string() + " has format version " + found + "; this sdkit reads version 1");
    }
    element_.kind = kind();
    const H5Handle type(H5Dget_type(data_.get()), H5Tclose);
    const bool whole = H5Tequal(type.get(), H5T_STD_U8LE) > 0;
    if (!whole && H5Tequal(type.get(), H5T_NATIVE_FLOAT) <= 0) {
        throw FileFormatError(where + "is neither uint8 nor float32; expected uint8 or float32");
    }
    element_.shape.assign(shape_.begin() + 2, shape_.end());
    element_.dtype = whole ? DType::uint8 : DType::float32;
    const sdkit::Kind& about = sdkit::kinds().at(element_.kind);
    if (std::find(about.dtypes.begin(), about.dtypes.end(), sdkit::text(element_.dtype)) == about.dtypes.end()) {
        throw FileFormatError(where + "has shape " + sdkit::text(shape_) + ": an element of kind " + element_.kind +
                              " is float32, not uint8");
    }
    const auto is_colour = [](std::int64_t channels) { return channels == 1 || channels == 3; };
    if (about.pictorial && !is_colour(shape_[2]) && is_colour(shape_[4])) {
        throw FileFormatError(where + "has shape " + sdkit::text(shape_) + ", channels last; expected (N, T, C, H, W)");
    }
}

void SequenceFile::read_lengths() {
    if (H5Lexists(file_.get(), "lengths", H5P_DEFAULT) <= 0) return;
    const H5Handle found = dataset("lengths", "of whole numbers, of 1 axes");
    const std::string where = path_.string() + ": data set 'lengths' ";
    const Shape shape = shape_of(found);
    if (shape != Shape{count()}) {
        throw FileFormatError(where + "has shape " + sdkit::text(shape) + "; expected N = " + std::to_string(count()) +
                              " rows");
    }
    std::vector<double> values(static_cast<std::size_t>(count()));
    const bool read = H5Dread(found.get(), H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()) >= 0;
    const auto whole = [](double value) { return value == std::nearbyint(value); };
    if (!read || !std::all_of(values.begin(), values.end(), whole)) {
        throw FileFormatError(where + "holds something else; expected whole numbers");
    }
    const auto [shortest, longest] = std::minmax_element(values.begin(), values.end());
    if (*shortest < 2 || *longest > static_cast<double>(steps())) {
        throw FileFormatError(where + "must lie in 2.." + std::to_string(steps()));
    }
    lengths_.emplace(values.begin(), values.end());
}

Tensor SequenceFile::read(std::int64_t first, std::int64_t last) const {
    Shape shape = shape_;
    shape[0] = last - first;
    const std::vector<hsize_t> sizes = extents(shape);
    const H5Handle from = select_rows(data_, first, sizes), to = space_of(sizes);
    const auto load = [&](auto values) {
        if (H5Dread(data_.get(), memory_type(element_.dtype), to.get(), from.get(), H5P_DEFAULT, values.data()) < 0) {
            throw FileFormatError(path_.string() +
                                  ": data set 'data' cannot be read: it is damaged, or compressed in a "
                                  "way that this libhdf5 does not know (gzip and none always work)");
        }
        return Tensor(shape, std::move(values));
    };
    const auto size = static_cast<std::size_t>(product(shape));
    Tensor x = element_.dtype == DType::uint8 ? load(std::vector<std::uint8_t>(size)) : load(std::vector<float>(size));
    element_.check(x, path_.string() + ": data set 'data'");
    return x;
}

GrowingFile::GrowingFile(fs::path path, bool force) : path_(std::move(path)) {
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
    if (fs::exists(path_) && !force) {
        throw sdkit::OutputExistsError(path_.string() +
                                       " exists already; choose another output or pass --force to replace it");
    }
    const fs::path folder = fs::absolute(path_).parent_path();
    if (!fs::is_directory(folder)) {
        throw sdkit::MissingFileError(path_.string() + ": the folder " + folder.string() +
                                      " does not exist; create it first");
    }
    temporary_ = folder / ("." + path_.filename().string() + "." + std::to_string(getpid()) + ".part");
    file_ = {H5Fcreate(temporary_.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose};
    check(file_.valid());
}

GrowingFile::~GrowingFile() {
    datasets_.clear();
    file_.close();
    std::error_code ignored;  // of a file that `finish` has renamed
    fs::remove(temporary_, ignored);
}

void GrowingFile::check(bool good) const {
    if (!good) throw sdkit::Error(path_.string() + " cannot be written; is the disk full, or the folder read-only?");
}

void GrowingFile::attribute(const std::string& name, const std::string& value) {
    const H5Handle type(H5Tcopy(H5T_C_S1), H5Tclose), space(H5Screate(H5S_SCALAR), H5Sclose);
    H5Tset_size(type.get(), H5T_VARIABLE);
    H5Tset_cset(type.get(), H5T_CSET_UTF8);
    const H5Handle made(H5Acreate2(file_.get(), name.c_str(), type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT),
                        H5Aclose);
    const char* characters = value.c_str();
    check(H5Awrite(made.get(), type.get(), &characters) >= 0);
}

void GrowingFile::attribute(const std::string& name, std::int64_t value) {
    const H5Handle space(H5Screate(H5S_SCALAR), H5Sclose);
    const H5Handle made(H5Acreate2(file_.get(), name.c_str(), H5T_STD_I64LE, space.get(), H5P_DEFAULT, H5P_DEFAULT),
                        H5Aclose);
    check(H5Awrite(made.get(), H5T_NATIVE_INT64, &value) >= 0);
}

void GrowingFile::attribute(const std::string& name, double value) {
    const H5Handle space(H5Screate(H5S_SCALAR), H5Sclose);
    const H5Handle made(H5Acreate2(file_.get(), name.c_str(), H5T_IEEE_F64LE, space.get(), H5P_DEFAULT, H5P_DEFAULT),
                        H5Aclose);
    check(H5Awrite(made.get(), H5T_NATIVE_DOUBLE, &value) >= 0);
}

void GrowingFile::append(const std::string& name, const Tensor& x) {
    const bool whole = x.dtype() == DType::uint8;
    std::vector<hsize_t> sizes = extents(x.shape());
    if (datasets_.count(name) == 0) {
        // Chunks of whole sequences, and gzip, which every reader of HDF5 knows.
        std::vector<hsize_t> none = sizes, limits = sizes, chunk = sizes;
        none[0] = 0;
        limits[0] = H5S_UNLIMITED;
        const std::int64_t row = product(x.shape(), 1) * static_cast<std::int64_t>(whole ? 1 : sizeof(float));
        chunk[0] = static_cast<hsize_t>(std::clamp<std::int64_t>(chunk_bytes / row, 1, 1024));
        const H5Handle properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose), space = space_of(none, limits.data());
        H5Pset_chunk(properties.get(), static_cast<int>(chunk.size()), chunk.data());
        H5Pset_deflate(properties.get(), 1);
        datasets_[name] = {H5Dcreate2(file_.get(), name.c_str(), whole ? H5T_STD_U8LE : H5T_IEEE_F32LE, space.get(),
                                      H5P_DEFAULT, properties.get(), H5P_DEFAULT),
                           H5Dclose};
        check(datasets_[name].valid());
    }
    const H5Handle& dataset = datasets_[name];
    const std::int64_t start = shape_of(dataset)[0];
    std::vector<hsize_t> grown = sizes;
    grown[0] += static_cast<hsize_t>(start);
    check(H5Dset_extent(dataset.get(), grown.data()) >= 0);
    const H5Handle to = select_rows(dataset, start, sizes), from = space_of(sizes);
    const void* values = whole ? static_cast<const void*>(x.bytes().data()) : x.floats().data();
    check(H5Dwrite(dataset.get(), memory_type(x.dtype()), from.get(), to.get(), H5P_DEFAULT, values) >= 0);
}

void GrowingFile::put(const std::string& name, const std::vector<std::int64_t>& values) {
    const H5Handle space = space_of({values.size()});
    const H5Handle made(
        H5Dcreate2(file_.get(), name.c_str(), H5T_STD_I64LE, space.get(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
        H5Dclose);
    check(H5Dwrite(made.get(), H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()) >= 0);
}

void GrowingFile::finish() {
    for (auto& [name, dataset] : datasets_) check(dataset.close());
    check(file_.close());
    fs::rename(temporary_, path_);
}
