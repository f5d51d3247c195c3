# What the extension's CMake files need of an installed Slicer, without Slicer: the macros only write down what they are
# asked to install, and refuse what the real ones refuse. Found through Slicer_DIR.

set(Slicer_FOUND TRUE)
set(Slicer_USE_FILE ${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake)
set(Slicer_EXTENSION_GENERATE_CONFIG ${CMAKE_CURRENT_LIST_DIR}/Finish.cmake)
set(Slicer_EXTENSION_CPACK ${CMAKE_CURRENT_LIST_DIR}/Nothing.cmake)
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR lib/Slicer-5.10/qt-scripted-modules)
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR lib/Slicer-5.10/qt-scripted-modules)

# VTK and ITK, which the real one looks for, look for Threads: not to be found without a C or C++ compiler
find_package(Threads REQUIRED)
