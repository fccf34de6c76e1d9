//! Python types made of Rust values, without process-wide state.
//!
//! A `HeapType<T>` is made once per interpreter and lives as long as it. Each instance owns one `T`,
//! which is dropped, attached, when Python drops the instance. Methods are unit types that implement
//! [`Method`], so that each gets a C function of its own at compile time.

use core::ffi::{CStr, c_char, c_int, c_uint, c_void};
use core::marker::PhantomData;
use core::ptr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::panic_text;
use pyo3::Borrowed;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;

/// A Rust type that can be the value of a Python instance.
///
/// Python may hand instances to other threads, hence `Send`; access is serialised by the GIL.
pub trait Class: Sized + Send + 'static {
    /// The type's full name, `ngx_wsgi.Input` for example.
    const NAME: &'static CStr;
    /// Its docstring.
    const DOC: &'static CStr;
    /// Whether the type has `__iter__` (returning itself) and `__next__`.
    const ITERATOR: bool = false;

    /// The methods: `methods.add::<Read>()` for each.
    fn methods(methods: &mut Methods<Self>);

    /// `__next__`: `None` ends the iteration.
    fn next<'py>(_this: &Instance<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(None)
    }
}

/// A method of the class `T`: positional arguments only, plus those keywords it names.
pub trait Method<T: Class>: 'static {
    /// The name in Python.
    const NAME: &'static CStr;
    /// The docstring, beginning with the signature.
    const DOC: &'static CStr;
    /// The one argument which may be given by name as well, after the positional ones.
    const KEYWORD: Option<&'static str> = None;

    /// The call. `keyword` is the value of `KEYWORD` if it was given by name.
    fn call<'py>(
        this: &Instance<'py, T>,
        args: &[Borrowed<'_, 'py, PyAny>],
        keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>>;
}

/// The method table of a class, while it is put together.
pub struct Methods<T>(Vec<ffi::PyMethodDef>, PhantomData<T>);

impl<T: Class> Methods<T> {
    /// Adds the method `M`.
    pub fn add<M: Method<T>>(&mut self) -> &mut Self {
        self.0.push(method_def::<T, M>());
        self
    }
}

/// The Python type of `T` in one interpreter.
pub struct HeapType<T: Class> {
    object: Py<PyAny>,
    class: PhantomData<fn() -> T>,
}

/// An instance of `HeapType<T>`, borrowed or owned by `Bound`.
pub struct Instance<'py, T: Class>(Bound<'py, PyAny>, PhantomData<fn() -> T>);

#[repr(C)]
struct Layout<T> {
    base: ffi::PyObject,
    value: T,
}

impl<T: Class> HeapType<T> {
    /// Makes the type. The tables that CPython keeps pointers to live as long as the process.
    pub fn new(py: Python<'_>) -> PyResult<Self> {
        let mut methods = Methods(Vec::new(), PhantomData);
        T::methods(&mut methods);
        methods.0.push(ffi::PyMethodDef::zeroed());
        let methods: &'static mut [ffi::PyMethodDef] = methods.0.leak();

        let mut slots = vec![
            slot(ffi::Py_tp_doc, T::DOC.as_ptr() as *mut c_void),
            slot(ffi::Py_tp_methods, methods.as_mut_ptr().cast()),
            slot(ffi::Py_tp_new, construct::<T> as ffi::newfunc as *mut c_void),
            slot(ffi::Py_tp_dealloc, dealloc::<T> as ffi::destructor as *mut c_void),
        ];
        if T::ITERATOR {
            slots.push(slot(ffi::Py_tp_iter, ffi::PyObject_SelfIter as *mut c_void));
            slots.push(slot(ffi::Py_tp_iternext, next::<T> as ffi::iternextfunc as *mut c_void));
        }
        slots.push(slot(0, ptr::null_mut()));

        let mut spec = ffi::PyType_Spec {
            name: T::NAME.as_ptr(),
            basicsize: size_of::<Layout<T>>() as c_int,
            itemsize: 0,
            flags: ffi::Py_TPFLAGS_DEFAULT as c_uint,
            slots: slots.as_mut_ptr(),
        };
        // SAFETY: attached; `spec` and `slots` are read during the call only, the method table and the
        // name live for ever, and the functions have the signatures of their slots.
        let object = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyType_FromSpec(&mut spec))? };
        Ok(Self { object: object.unbind(), class: PhantomData })
    }

    /// The type as any object.
    pub fn as_any<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.object.bind(py)
    }

    /// A new instance that owns `value`.
    pub fn instance<'py>(&self, py: Python<'py>, value: T) -> PyResult<Instance<'py, T>> {
        // SAFETY: the type was made by `new` for this T.
        unsafe { allocate(py, self.object.as_ptr().cast(), value) }
    }
}

impl<'py, T: Class> Instance<'py, T> {
    /// The value.
    pub fn get(&self) -> &T {
        // SAFETY: an Instance<T> is only made for objects of HeapType<T>, whose value is initialised
        // when the object is made and dropped when it dies.
        unsafe { &(*self.0.as_ptr().cast::<Layout<T>>()).value }
    }

    /// The token of the interpreter this instance belongs to.
    pub fn py(&self) -> Python<'py> {
        self.0.py()
    }

    /// The instance as any object.
    pub fn as_any(&self) -> &Bound<'py, PyAny> {
        &self.0
    }

    /// A reference that may be kept.
    pub fn unbind(self) -> Kept<T> {
        Kept(self.0.unbind(), PhantomData)
    }

    /// The bound method `M` as a callable object.
    pub fn method<M: Method<T>>(&self) -> PyResult<Bound<'py, PyAny>> {
        // The definition must outlive every function object made of it.
        struct Definition<T, M>(PhantomData<(T, M)>);
        impl<T: Class, M: Method<T>> Definition<T, M> {
            const VALUE: &'static SyncDef = &SyncDef(method_def::<T, M>());
        }
        let def = ptr::from_ref(&Definition::<T, M>::VALUE.0).cast_mut();
        // SAFETY: attached; CPython only reads the definition, which is a constant that lives for ever.
        unsafe {
            let object = ffi::PyCFunction_NewEx(def, self.0.as_ptr(), ptr::null_mut());
            Bound::from_owned_ptr_or_err(self.py(), object)
        }
    }
}

/// A method definition in a constant; CPython never writes to it.
struct SyncDef(ffi::PyMethodDef);
// SAFETY: read only, and the pointers in it are to constants.
unsafe impl Sync for SyncDef {}

/// Whether more than `known` references lead to a method made by `Instance::method`, or a weak one.
pub fn is_referred_to(method: &Py<PyAny>, known: isize) -> bool {
    // SAFETY: the layout of what PyCFunction_NewEx makes; the object is alive.
    let weak = unsafe { (*method.as_ptr().cast::<ffi::PyCFunctionObject>()).m_weakreflist };
    references(method) > known || !weak.is_null()
}

/// How many references to `object` there are.
pub fn references<T>(object: &Py<T>) -> isize {
    // SAFETY: reads the count of a live object.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) as isize }
}

/// A kept reference to an instance. To be dropped while attached.
pub struct Kept<T: Class>(Py<PyAny>, PhantomData<fn() -> T>);

impl<T: Class> Kept<T> {
    /// How many references to the instance there are, this one included.
    pub fn references(&self) -> isize {
        references(&self.0)
    }

    /// The instance again.
    pub fn bind<'py>(&self, py: Python<'py>) -> Instance<'py, T> {
        Instance(self.0.bind(py).clone(), PhantomData)
    }
}

const fn method_def<T: Class, M: Method<T>>() -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: M::NAME.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: call::<T, M> },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: M::DOC.as_ptr() as *const c_char,
    }
}

fn slot(slot: c_int, pfunc: *mut c_void) -> ffi::PyType_Slot {
    ffi::PyType_Slot { slot, pfunc }
}

/// # Safety
/// `ty` must be a type whose instances have the layout `Layout<T>`.
unsafe fn allocate<'py, T: Class>(
    py: Python<'py>,
    ty: *mut ffi::PyTypeObject,
    value: T,
) -> PyResult<Instance<'py, T>> {
    // SAFETY: attached; tp_alloc gives zeroed memory of the type's basic size with the header set,
    // large enough for Layout<T>; the value is written before anybody sees the object.
    unsafe {
        let object = ffi::PyType_GenericAlloc(ty, 0);
        if object.is_null() {
            return Err(PyErr::fetch(py));
        }
        ptr::write(&raw mut (*object.cast::<Layout<T>>()).value, value);
        Ok(Instance(Bound::from_owned_ptr(py, object), PhantomData))
    }
}

/// There is no way to make an instance from Python.
unsafe extern "C" fn construct<T: Class>(
    _type: *mut ffi::PyTypeObject,
    _args: *mut ffi::PyObject,
    _kwargs: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: CPython calls tp_new attached.
    let py = unsafe { Python::assume_attached() };
    trampoline(py, || {
        let name = T::NAME.to_string_lossy();
        Err(PyTypeError::new_err(format!("cannot create '{name}' instances")))
    })
}

unsafe extern "C" fn dealloc<T: Class>(object: *mut ffi::PyObject) {
    // SAFETY: CPython calls tp_dealloc attached, once, for an object of this type. Instances of heap
    // types own a reference to their type.
    unsafe {
        let ty = ffi::Py_TYPE(object);
        let value = &raw mut (*object.cast::<Layout<T>>()).value;
        // A panic must not pass into CPython; there is nobody to tell.
        let _ = catch_unwind(AssertUnwindSafe(|| ptr::drop_in_place(value)));
        ffi::PyObject_Free(object.cast());
        ffi::Py_DECREF(ty.cast());
    }
}

unsafe extern "C" fn next<T: Class>(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: CPython calls tp_iternext attached, with an object of this type.
    unsafe {
        let py = Python::assume_attached();
        let this = Instance(Bound::from_borrowed_ptr(py, object), PhantomData);
        trampoline(py, || T::next(&this))
    }
}

unsafe extern "C" fn call<T: Class, M: Method<T>>(
    object: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: CPython calls a METH_FASTCALL | METH_KEYWORDS function attached; for a method of a type,
    // and for the bound methods made by `Instance::method`, `object` is an instance of that type; `args`
    // holds `nargs` positional arguments and then one value for each name in the tuple `kwnames`.
    unsafe {
        let py = Python::assume_attached();
        let this = Instance(Bound::from_borrowed_ptr(py, object), PhantomData);
        trampoline(py, || {
            let given = if kwnames.is_null() { 0 } else { ffi::PyTuple_GET_SIZE(kwnames) };
            // Borrowed is a transparent pointer, so the arguments are used where they stand.
            let all: &[Borrowed<'_, '_, PyAny>] = match nargs + given {
                0 => &[],
                n => core::slice::from_raw_parts(args.cast(), n as usize),
            };
            let (positional, named) = all.split_at(nargs as usize);
            let keyword = match named {
                [] => None,
                [value] => {
                    let name = Borrowed::from_ptr(py, ffi::PyTuple_GET_ITEM(kwnames, 0));
                    keyword::<T, M>(name, *value)?
                }
                _ => return Err(PyTypeError::new_err("too many keyword arguments")),
            };
            M::call(&this, positional, keyword).map(Some)
        })
    }
}

fn keyword<'a, 'py, T: Class, M: Method<T>>(
    name: Borrowed<'_, 'py, PyAny>,
    value: Borrowed<'a, 'py, PyAny>,
) -> PyResult<Option<Borrowed<'a, 'py, PyAny>>> {
    let name: String = name.extract()?;
    if M::KEYWORD == Some(name.as_str()) {
        return Ok(Some(value));
    }
    let method = M::NAME.to_string_lossy();
    Err(PyTypeError::new_err(format!("{method}() got an unexpected keyword argument '{name}'")))
}

/// Runs `f` and gives CPython what it expects: a new reference, or null, with an exception set on
/// failure. A Rust panic becomes a `RuntimeError` in the application.
fn trampoline<'py>(
    py: Python<'py>,
    f: impl FnOnce() -> PyResult<Option<Bound<'py, PyAny>>>,
) -> *mut ffi::PyObject {
    let result = catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|payload| {
        Err(PyRuntimeError::new_err(format!("internal error: {}", panic_text(&payload))))
    });
    match result {
        Ok(Some(object)) => object.into_ptr(),
        Ok(None) => ptr::null_mut(),
        Err(error) => {
            error.restore(py);
            ptr::null_mut()
        }
    }
}
